"""``python -m pulumi_vmbackup.simulator``: a stand-in VM Backup API for a machine that has none."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import VmBackupError
from ..settings import NEWEST_VERSION
from ..streams import print_any_text
from .api import BASE_PATHS, PORTS, Simulator
from .behavior import LONGEST_SECONDS, PRESETS, Behavior, behavior_choices, facts_of
from .data import Inventory
from .faults import FAULT_KINDS, Fault
from .http_server import serve
from .replay import Replay, replays_of

_LOOPBACK = "127.0.0.1"
_NOT_WITH_REPLAY = (
    "like",
    "inventory",
    "state",
    "fault",
    "host_off",
    "lag_seconds",
    "answer_seconds",
    "session_seconds",
    "username",
    "password",
)
_ANSWERS = {
    "second_post": "what to do with a POST of a pair that is assigned already",
    "unassigned_delete": "what to do with a DELETE of a pair that is not assigned",
    "unknown_vm": "what to do with a GET of the locations of an unknown VM",
    "second_primary": "what to do with a POST of a second primary location of a VM",
    "second_session": "what to do with a second session while one is open",
    "invalid_token": "what to answer to the token of a session that is over",
    "wrong_password": "what to answer to a wrong user name or password",
    "vm_list": "which VMs vms/list lists",
    "spelling": "how answers spell GUIDs, times, sizes and empty lists",
}


def main() -> None:
    print_any_text()
    arguments = _arguments()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    stop = _stop_signal()
    try:
        _read_facts(arguments)
        if arguments.replay:
            _replay(arguments, stop)
            return
        inventory = _inventory(arguments)
        simulator = Simulator(
            inventory,
            api_version=arguments.api_version,
            username=arguments.username,
            password=arguments.password,
            session_seconds=arguments.session_seconds,
            behavior=_behavior(arguments),
            state_file=arguments.state,
        )
        simulator.faults = arguments.fault or []
        simulator.answer_seconds = arguments.answer_seconds
        simulator.hosts_off = set(arguments.host_off or ())
        with ExitStack() as stack:
            base_url = _serve(simulator, arguments, stack)
            simulator.save_state()  # fails now, not in a call
            print(f"VM Backup API simulator at {base_url}", flush=True)
            _wait_for(stop)
    except (VmBackupError, OSError) as error:
        sys.exit(f"{_parser().prog}: {error}")


def _replay(arguments: argparse.Namespace, stop: threading.Event) -> None:
    with ExitStack() as stack:
        for replay in replays_of(arguments.replay):
            base_url = _serve(replay, arguments, stack)
            print(f"Replay of {replay.server} at {base_url}", flush=True)
            arguments.port = 0  # a free one for each other server
        _wait_for(stop)


def _serve(simulator: Simulator | Replay, arguments: argparse.Namespace, stack: ExitStack) -> str:
    """Serve until the stack is closed; the base URL."""
    serve_at = partial(
        serve, simulator, certificate=arguments.tls_certificate, key=arguments.tls_key
    )
    port = PORTS[arguments.api_version] if arguments.port is None else arguments.port
    base_url = stack.enter_context(serve_at(host=arguments.host, port=port))
    if arguments.host == _LOOPBACK:
        # On Windows, localhost means ::1 first, and a refused connection takes two seconds.
        with suppress(OSError):  # a machine without IPv6
            stack.enter_context(serve_at(host="::1", port=urlsplit(base_url).port or 0))
    return base_url


def _wait_for(stop: threading.Event) -> None:
    while not stop.wait(0.5):  # in slices: Windows delivers signals only between waits
        pass


def _arguments() -> argparse.Namespace:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.tls_key and not arguments.tls_certificate:
        parser.error("argument --tls-key: it needs --tls-certificate")
    if arguments.replay:
        for name in (*_NOT_WITH_REPLAY, *_ANSWERS):
            if getattr(arguments, name) != parser.get_default(name):
                option = f"--{name.replace('_', '-')}"
                parser.error(f"argument --replay: not allowed with argument {option}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pulumi_vmbackup.simulator",
        description="A stand-in for the VM Backup API over real HTTP, to test Pulumi programs "
        "with. It prints its base URL, for vmbackup:baseUrl, then all calls without session "
        "tokens, and stops at Ctrl-C. Without --inventory it holds eight VMs and four backup "
        "locations. While it runs, GET and PATCH of /simulator show and change its behavior.",
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--host",
        type=_host,
        default=_LOOPBACK,
        help=f"the address to listen at; {_LOOPBACK} means ::1 too, so that localhost leads there",
    )
    parser.add_argument(
        "--port",
        type=_port,
        help="the port, 0 for a free one; by default the documented one of the API version",
    )
    parser.add_argument(
        "--like",
        metavar="FACTS",
        help="answer as the server whose facts `vmbackup probe` wrote to this file, or as what is "
        f"known of a version: {', '.join(PRESETS)}. The default is v{NEWEST_VERSION}, a server "
        "that allows one session at a time",
    )
    parser.add_argument(
        "--api-version",
        choices=BASE_PATHS,
        help="the API version to simulate; by default that of --like",
    )
    parser.add_argument("--username", default="Administrator", help="the user who may log in")
    parser.add_argument("--password", default="simulator", help="that user's password")
    parser.add_argument(
        "--session-seconds",
        type=_seconds,
        default=300,
        metavar="N",
        help="how long a session lives without a call",
    )
    parser.add_argument(
        "--inventory",
        type=Path,
        metavar="FILE",
        help="a JSON file like those that --state writes",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="keep the inventory in this file, and start from it if it exists",
    )
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="answer as the servers of this recording did, instead of simulating one; any account "
        "may log in, and each further server gets a free port",
    )
    parser.add_argument(
        "--tls-certificate", type=Path, metavar="FILE", help="answer https with this PEM file"
    )
    parser.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="its key, if that is in another file"
    )
    answers = parser.add_argument_group(
        "answers",
        "What to answer where real servers differ, or where their answer is unknown; by default, "
        "what --like says.",
    )
    for key, choices in behavior_choices().items():
        answers.add_argument(
            f"--{key.replace('_', '-')}",
            choices=choices,
            help=_ANSWERS[key],
        )
    trouble = parser.add_argument_group("trouble", "Delays and failures, for tests of a program.")
    trouble.add_argument(
        "--lag-seconds",
        type=_waiting_seconds,
        metavar="N",
        help="how many seconds a list of a VM's locations lags behind a change",
    )
    trouble.add_argument(
        "--answer-seconds",
        type=_waiting_seconds,
        default=0,
        metavar="N",
        help="how many seconds an answer takes",
    )
    trouble.add_argument(
        "--host-off",
        action="append",
        metavar="NAME",
        help="a host that is off, so that vms/list lacks its VMs. May be repeated",
    )
    trouble.add_argument(
        "--fault",
        type=_fault,
        action="append",
        metavar="TEXT",
        help='calls that fail, such as "reset before times=2 skip=1 POST /vms/backuplocations". '
        f"First the kind: {', '.join(FAULT_KINDS)}. The rest is optional: 'before' if the "
        "server does not act; times: how many calls fail, or all; skip: how many succeed first; "
        "the start of the calls. May be repeated",
    )
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def _host(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty: use an address such as 127.0.0.1")
    return text


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a number from 0 to 65535")
    return port


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not seconds >= 0:  # rejects nan too
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds: use 0 or more")
    return seconds


def _waiting_seconds(text: str) -> float:
    seconds = _seconds(text)
    if seconds > LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is too long: use {LONGEST_SECONDS} at most")
    return seconds


def _fault(text: str) -> Fault:
    try:
        return Fault.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _inventory(arguments: argparse.Namespace) -> Inventory:
    if arguments.state and arguments.state.exists():
        return Inventory.load(arguments.state)
    if arguments.inventory:
        return Inventory.load(arguments.inventory)
    return Inventory.sample()


def _read_facts(arguments: argparse.Namespace) -> None:
    """Read the facts about the server to simulate; they tell its version too."""
    source = arguments.like or f"v{arguments.api_version or NEWEST_VERSION}"
    arguments.facts = facts_of(source)
    arguments.api_version = arguments.api_version or arguments.facts.api_version
    if arguments.facts.values.get("scheme") == "https" and not arguments.tls_certificate:
        print("That server answers https: so does this one with --tls-certificate.", flush=True)


def _behavior(arguments: argparse.Namespace) -> Behavior:
    given = {key: getattr(arguments, key) for key in (*_ANSWERS, "lag_seconds")}
    given = {key: value for key, value in given.items() if value is not None}
    return Behavior.like(arguments.facts, **given)


def _stop_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    main()
