"""The forms that most queries have."""


def rate(metric, by="", of=""):
    """A counter's growth a second, summed by these labels, of the series that `of` chooses."""
    return f"{summed(by)} (rate({metric}{braces(of)}[$__rate_interval]))"


def increase(metric, by="", of="", over="$__range"):
    """A counter's growth over a time."""
    return f"{summed(by)} (increase({metric}{braces(of)}[{over}]))"


def quantile(share, metric, by="", of=""):
    """The value that this share of a histogram's observations does not exceed."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le', of)})"


def mean(metric, by="", of=""):
    """The mean of a histogram's observations."""
    return f"{rate(f'{metric}_sum', by, of)} / {rate(f'{metric}_count', by, of)}"


def latest(metric, by="", of=""):
    """A gauge that several instances export alike, or that one of them holds: each once."""
    return f"max{grouped(by)} ({metric}{braces(of)})"


def summed(by):
    return f"sum{grouped(by)}"


def grouped(by):
    return f" by ({by})" if by else ""


def braces(of):
    return f"{{{of}}}" if of else ""
