"""Helpers of tests that drive a live page in a browser."""

READY = "document.body?.dataset.ready == 'yes'"


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
