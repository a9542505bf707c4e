"""Helpers of tests that drive a live page in a browser."""

import contextlib

READY = "document.body?.dataset.ready == 'yes'"


# How many places for words are empty.
UNSAID = "[...document.querySelectorAll('[data-word]')].filter(x => !x.textContent).length"


@contextlib.contextmanager
def phone(page):
    """The page as wide as a phone."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.send("Emulation.setDeviceMetricsOverride", **size)
    try:
        yield
    finally:
        page.send("Emulation.clearDeviceMetricsOverride")


def check_alone(browser, address):
    """The page has asked for itself alone, and has said no error."""
    asked = [one for one in browser.requests if not one.startswith("data:")]
    assert asked == [address] and browser.errors == []


def text(name):
    return f"document.getElementById('{name}').textContent"


def open_anew(browser, address):
    browser.evaluate("document.body?.removeAttribute('data-ready')")  # of the page before
    browser.requests.clear()
    browser.open(address)
    browser.wait(READY, seconds=60)
    speak(browser, "en")


def speak(page, code):
    page.evaluate(f"document.querySelector('[data-language={code}]').click()")


def settled(page, act):
    """Does something, and waits until the page has been drawn anew."""
    count = page.evaluate("Number(document.body.dataset.count)")
    act()
    page.wait(f"Number(document.body.dataset.count) > {count}", seconds=60)


def click(page, selector):
    settled(page, lambda: page.evaluate(f"document.querySelector('{selector}').click()"))
