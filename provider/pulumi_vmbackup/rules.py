"""Rules about the backup locations of VMs, the file that holds them, and what breaks them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn, get_args

import yaml

from .coverage import Coverage, VmCoverage, Wanted
from .errors import ArgumentError
from .files import reason_of, text_of
from .models import VirtualMachine
from .settings import did_you_mean

RULES_FILE = "vmbackup-rules.yaml"
WANTED: tuple[Wanted, ...] = get_args(Wanted)
UNMANAGED = "unmanaged"
_LIMIT = re.compile(r"(\d{1,9})(%?)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Match:
    """Which VMs something is about: those with such a name, and on such a host.

    Attributes:
        vms: patterns of names, like ``SQL*``; none for any name.
        hosts: patterns of the names of hosts; none for any host.
    """

    vms: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __contains__(self, vm: VirtualMachine) -> bool:
        return _matches(vm.name, self.vms) and _matches(vm.host, self.hosts)

    def may_match(self, vm: VirtualMachine) -> bool:
        """Whether it matches, or may: the name or the host of a VM may not be known."""
        return vm in replace(
            self, vms=self.vms if vm.name else (), hosts=self.hosts if vm.host else ()
        )

    def parts(self) -> Iterator[Match]:
        """Each pattern by itself."""
        yield from (Match(vms=(each,)) for each in self.vms)
        yield from (Match(hosts=(each,)) for each in self.hosts)

    def __str__(self) -> str:
        parts = [f"VMs {', '.join(self.vms)}"] if self.vms else []
        parts += [f"hosts {', '.join(self.hosts)}"] if self.hosts else []
        return " on ".join(parts)


@dataclass(frozen=True)
class Requirement:
    """VMs must have a location of a kind."""

    wanted: Wanted
    match: Match = Match()
    line: int | None = None

    def __str__(self) -> str:
        of = f" for {self.match}" if str(self.match) else ""
        return f"require {self.wanted}{of}"


@dataclass(frozen=True)
class Exemption:
    """Why rules do not hold for some VMs, and until when.

    Attributes:
        match: the VMs.
        reason: why, in the words of who wrote it.
        until: the last day on which it holds; None for no end.
        rules: the rules that do not hold: ``offsite``, ``primary``, ``any`` and ``unmanaged``.
        line: where the rules file has it.
    """

    match: Match
    reason: str
    until: date | None
    rules: tuple[str, ...]
    line: int

    def holds(self, today: date) -> bool:
        return self.until is None or today <= self.until


@dataclass(frozen=True)
class Limit:
    """How many assignments an update may remove: a number, or a percentage of those there are."""

    number: int
    is_percentage: bool

    def __str__(self) -> str:
        return f"{self.number}{'%' if self.is_percentage else ''}"

    def allows(self, removed: int, of: int) -> bool:
        return removed * 100 <= self.number * of if self.is_percentage else removed <= self.number


@dataclass(frozen=True)
class Rules:
    """What must hold after an update.

    Attributes:
        requirements: which kinds of locations VMs must have.
        limits: how many assignments an update may remove.
        forbids_unmanaged: whether each assignment must be declared by a resource.
        exceptions: for which VMs that does not hold.
        source: the rules file, as errors name it.
    """

    requirements: tuple[Requirement, ...] = ()
    limits: tuple[Limit, ...] = ()
    forbids_unmanaged: bool = False
    exceptions: tuple[Exemption, ...] = ()
    source: str = RULES_FILE

    def judge(self, coverages: Iterable[Coverage], today: date) -> list[Judgement]:
        """Which rules hold after an update, and for which VMs they do not."""
        coverages = list(coverages)
        judged = [self._require(each, coverages, today) for each in self.requirements]
        if self.forbids_unmanaged:
            judged.append(self._forbid_unmanaged(coverages, today))
        return judged + [_limit_removed(each, coverages) for each in self.limits]

    def unmatched(self, coverages: Iterable[Coverage]) -> list[Judgement]:
        """The requirements and exceptions of the file that are about no VM, maybe by a misspelling.

        What became of them is not known.
        """
        all_vms = [
            vm
            for coverage in coverages
            for vm in (*(each.vm for each in coverage.vms), *coverage.unlisted_vms)
        ]
        configured = [vm for vm in all_vms if vm.is_assignable]
        given = [("requirement", each.match, each.line, configured) for each in self.requirements]
        given += [("exception", each.match, each.line, all_vms) for each in self.exceptions]
        return [
            Judgement(
                f"{self.source}, line {line}",
                limit=Verdict.UNKNOWN,
                problem=f"{self.source}, line {line}: no VM matches this {what} ({part}): correct "
                "the pattern, or check whether its host is off.",
            )
            for what, match, line, vms in given
            if line is not None
            for part in dict.fromkeys((*match.parts(), match))
            if not any(vm in part for vm in vms)
        ]

    def _require(self, rule: Requirement, coverages: list[Coverage], today: date) -> Judgement:
        judgement = Judgement(str(rule))
        for coverage in coverages:
            for each in coverage.configured:
                has = each.has(rule.wanted) if rule.match.may_match(each.vm) else True
                if has:
                    continue
                if self._excepted(judgement, coverage, each, rule.wanted, today):
                    continue
                (judgement.unknown if has is None else judgement.broken).append((coverage, each))
            for vm in coverage.unlisted_vms:
                if rule.match.may_match(vm) and not self._exemptions(vm, rule.wanted, today):
                    judgement.unlisted.append(vm.name or str(vm.ref))
        return judgement

    def _forbid_unmanaged(self, coverages: list[Coverage], today: date) -> Judgement:
        judgement = Judgement(f"forbid {UNMANAGED}")
        for coverage in coverages:
            for each in coverage.vms:
                if not each.unmanaged:
                    continue
                if self._excepted(judgement, coverage, each, UNMANAGED, today):
                    continue
                # What is not known yet may declare them, or remove them.
                is_unknown = (
                    each.gains_unknown > 0
                    or bool(coverage.of_unknown_vm or coverage.not_shown)
                    or {*each.unmanaged} <= {*each.may_lose}
                )
                (judgement.unknown if is_unknown else judgement.broken).append((coverage, each))
        return judgement

    def _excepted(
        self, judgement: Judgement, coverage: Coverage, each: VmCoverage, rule: str, today: date
    ) -> bool:
        for exemption in self._exemptions(each.vm, rule, today):
            judgement.excepted.append((coverage, each, exemption))
            return True
        for exemption in self._exemptions(each.vm, rule, date.min):
            judgement.ended.append((coverage, each, exemption))
        return False

    def _exemptions(self, vm: VirtualMachine, rule: str, day: date) -> list[Exemption]:
        """The exceptions from a rule that hold for a VM on a day."""
        return [
            each
            for each in self.exceptions
            if rule in each.rules and vm in each.match and each.holds(day)
        ]


class Verdict(Enum):
    """What became of a rule."""

    KEPT = "kept"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass
class Judgement:
    """What became of one rule.

    Attributes:
        rule: the rule, as the command's options say it.
        broken: the VMs that break it, each with the coverage of its server.
        unknown: those of which only the update knows.
        unlisted: the names of declared VMs that the server does not list: whether they break it is
            not known.
        excepted: those that break it, or may, with the exception that holds for them.
        ended: those of ``broken`` and ``unknown`` for which an exception has ended.
        limit: what became of a limit, which is about no VM.
        reason: of a limit, how many assignments are removed.
        problem: why the rule cannot be judged, as a sentence.
    """

    rule: str
    broken: list[tuple[Coverage, VmCoverage]] = field(default_factory=list)
    unknown: list[tuple[Coverage, VmCoverage]] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    excepted: list[tuple[Coverage, VmCoverage, Exemption]] = field(default_factory=list)
    ended: list[tuple[Coverage, VmCoverage, Exemption]] = field(default_factory=list)
    limit: Verdict = Verdict.KEPT
    reason: str = ""
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.broken or self.limit is Verdict.BROKEN:
            return Verdict.BROKEN
        return Verdict.UNKNOWN if self.unknown or self.unlisted else self.limit


def _limit_removed(limit: Limit, coverages: list[Coverage]) -> Judgement:
    vms = [each for coverage in coverages for each in coverage.vms]
    of = sum(len(each.now) for each in vms)
    removed = sum(len(each.lost) for each in vms)
    at_most = removed + sum(len(each.may_lose) for each in vms)
    verdict = Verdict.KEPT
    if not limit.allows(removed, of):
        verdict = Verdict.BROKEN
    elif not limit.allows(at_most, of):
        verdict = Verdict.UNKNOWN
    up_to = f" and up to {at_most:,}" if at_most > removed else ""
    reason = f"the update removes {removed:,}{up_to} of {of:,} assignments"
    return Judgement(f"at most {limit} removed", limit=verdict, reason=reason)


def _matches(name: str | None, patterns: tuple[str, ...]) -> bool:
    text = (name or "").casefold()
    return not patterns or any(fnmatchcase(text, each.casefold()) for each in patterns)


# The file


def parse_limit(text: str) -> Limit:
    """``5`` or ``10%`` as a limit.

    Raises:
        ValueError: it is neither.
    """
    found = _LIMIT.fullmatch(text.strip())
    if not found or (found[2] and int(found[1]) > 100):
        raise ValueError(f"{text!r} is neither a number such as 5 nor a percentage such as 10%")
    return Limit(int(found[1]), bool(found[2]))


def read_rules(file: Path, given_by: str = "its path") -> Rules:
    """Read a rules file.

    Args:
        file: the file.
        given_by: what gives its path, as an error names it.

    Raises:
        ArgumentError: it cannot be read, or something in it is wrong; the error names the line.
    """
    try:
        text = text_of(file.read_bytes())
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ArgumentError(
            f"The rules file {file} cannot be read ({reason_of(error, file)}): correct {given_by}, "
            "or create the file."
        ) from None
    except UnicodeDecodeError:
        raise ArgumentError(
            f"The rules file {file} is not text in UTF-8: save it as such."
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ArgumentError(f"{file}{line}: this is not YAML ({error.problem}).") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ArgumentError(f"{file}: this is not YAML ({str(error).splitlines()[0]}).") from None
    return _File(str(file)).rules(node)


class _File:
    """Reads the nodes of a rules file, which know their lines."""

    def __init__(self, name: str) -> None:
        self._name = name

    def rules(self, node: Any) -> Rules:
        given = self._map(node, ("require", "at-most-removed", "forbid", "exceptions"))
        if not given:
            raise ArgumentError(
                f"{self._name} holds no rules: write `require: offsite`, or remove it."
            )
        limit = given.get("at-most-removed")
        forbidden = [self._choice(each, (UNMANAGED,)) for each in self._list(given.get("forbid"))]
        return Rules(
            requirements=tuple(map(self._requirement, self._list(given.get("require")))),
            limits=(self._limit(limit),) if limit else (),
            forbids_unmanaged=bool(forbidden),
            exceptions=tuple(map(self._exception, self._list(given.get("exceptions")))),
            source=self._name,
        )

    def _requirement(self, node: Any) -> Requirement:
        if isinstance(node, yaml.ScalarNode):
            return Requirement(self._choice(node, WANTED))  # type: ignore[arg-type]
        given = self._map(node, ("location", "vms", "hosts"))
        if "location" not in given:
            self._refuse(node, "location is missing: give offsite, primary or any")
        wanted = self._choice(given["location"], WANTED)
        return Requirement(wanted, self._match(given), _line(node))  # type: ignore[arg-type]

    def _exception(self, node: Any) -> Exemption:
        given = self._map(node, ("vms", "hosts", "reason", "until", "rules"))
        match = self._match(given)
        if not str(match):
            self._refuse(node, "an exception needs vms, hosts or both")
        reason = self._text(given["reason"]).strip() if "reason" in given else ""
        if not reason:
            self._refuse(node, "an exception needs a reason")
        rules = [
            self._choice(each, (*WANTED, UNMANAGED)) for each in self._list(given.get("rules"))
        ]
        return Exemption(
            match=match,
            reason=reason,
            until=self._date(given["until"]) if "until" in given else None,
            rules=tuple(rules) or (*WANTED, UNMANAGED),
            line=_line(node),
        )

    def _match(self, given: dict[str, Any]) -> Match:
        patterns = (
            tuple(self._text(each) for each in self._list(given.get(key)))
            for key in ("vms", "hosts")
        )
        return Match(*patterns)

    def _limit(self, node: Any) -> Limit:
        try:
            return parse_limit(self._text(node))
        except ValueError as error:
            self._refuse(node, str(error))

    def _date(self, node: Any) -> date:
        text = self._text(node)
        try:
            if not _DATE.fullmatch(text):  # Python 3.11 takes other forms too
                raise ValueError
            return date.fromisoformat(text)
        except ValueError:
            self._refuse(node, f"{text!r} is not a date such as 2027-03-31")

    def _choice(self, node: Any, choices: tuple[str, ...]) -> str:
        text = self._text(node)
        if text not in choices:
            one_of = "one of " if len(choices) > 1 else ""
            self._refuse(node, f"{text!r} is not {one_of}{', '.join(choices)}")
        return text

    def _text(self, node: Any) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
            self._refuse(node, "text is expected here")
        return str(node.value)

    def _list(self, node: Any) -> list[Any]:
        """The items of a list, or the one thing that stands for a list of one."""
        if node is None:
            return []
        items = list(node.value) if isinstance(node, yaml.SequenceNode) else [node]
        if not items:
            self._refuse(node, "the list is empty: give it an item, or remove it")
        return items

    def _map(self, node: Any, keys: tuple[str, ...]) -> dict[str, Any]:
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._refuse(node, f"names and values are expected here, as in `{keys[0]}: offsite`")
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self._text(key)
            if name not in keys:
                self._refuse(key, f"{name!r} is not known here: use {did_you_mean(name, keys)}")
            if name in found:
                self._refuse(key, f"{name!r} is there twice: remove one")
            found[name] = value
        return found

    def _refuse(self, node: Any, problem: str) -> NoReturn:
        raise ArgumentError(f"{self._name}, line {_line(node)}: {problem}.")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
