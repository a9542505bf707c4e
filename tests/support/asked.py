"""Which parameters the selected tests of a file have, for fixtures that make no more than these."""


def asked(request, parameter):
    """Values of a parameter in the tests that were selected from the file of a request."""
    items = (item for item in request.session.items if item.path == request.path)
    found = (getattr(item, "callspec", None) for item in items)
    return {own.params[parameter] for own in found if own and parameter in own.params}
