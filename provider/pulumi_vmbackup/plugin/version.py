"""The version of the package as Pulumi takes it.

The build of the package runs this file by itself: it imports nothing of the package.
"""

import re

_PYTHON_VERSION = re.compile(
    r"""v?
    (?:(?P<epoch>\d+)!)?
    (?P<release>\d+(?:\.\d+)*)
    (?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>\d*))?
    (?:-(?P<bare_post>\d+)|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_number>\d*))?
    (?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_number>\d*))?
    (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?""",
    re.VERBOSE | re.IGNORECASE,
)
_PRE_RELEASES = {"a": "alpha", "alpha": "alpha", "b": "beta", "beta": "beta"}  # else "rc"


def semantic_version(python_version: str) -> str:
    """A version of a Python package (PEP 440) as Pulumi takes it: ``0.2.0rc1`` as ``0.2.0-rc.1``.

    Semantic versions have three numbers and no epochs or post-releases. What has no place in them
    follows a plus sign, where it does not count for the order of versions.

    Raises:
        ValueError: it is no such version.
    """
    found = _PYTHON_VERSION.fullmatch(python_version.strip())
    if not found:
        raise ValueError(f"{python_version!r} is not a version of a Python package.")
    numbers = [str(int(number)) for number in found["release"].split(".")]
    numbers += ["0"] * (3 - len(numbers))
    before, after = [], []
    if found["pre"]:
        kind = _PRE_RELEASES.get(found["pre"].lower(), "rc")
        before += [kind, str(int(found["pre_number"] or 0))]
    if found["dev"]:
        before += ["dev", str(int(found["dev_number"] or 0))]
    if found["epoch"]:
        after += ["epoch", found["epoch"]]
    after += numbers[3:]
    if found["post"] or found["bare_post"]:
        after += ["post", found["bare_post"] or found["post_number"] or "0"]
    if found["local"]:
        after += re.split(r"[-_.]", found["local"])
    parts = (("", numbers[:3]), ("-", before), ("+", after))
    return "".join(sign + ".".join(part) for sign, part in parts if part)
