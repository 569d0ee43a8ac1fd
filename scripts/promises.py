"""What this package promises, and for each promise small edits of the code that violate it.

`make breaks` makes each edit in a copy of the repository and runs the tests named beside it: one of
them has to fail. A new promise gets its breaks here.
"""

from __future__ import annotations

from typing import NamedTuple


class Break(NamedTuple):
    """An edit that a developer could make.

    Attributes:
        words: what the code does then.
        file: the file, in the folder of the package.
        old: a text that occurs once in that file.
        new: what takes its place.
        tests: the tests that should notice, in the folder of the tests, with spaces between them.
    """

    words: str
    file: str
    old: str
    new: str
    tests: str


PROMISES: dict[str, list[Break]] = {
    # A refactoring un-assigns nothing
    "A pair that the program declares is not un-assigned.": [
        Break(
            "the dynamic provider forgets what it has checked",
            "assignment.py",
            "        declared.add([pair])\n",
            "",
            "test_assignment.py",
        ),
        Break(
            "a declared pair whose connection is gone cannot be deleted from the state",
            "assignment.py",
            "if pair not in declared:",
            "if True:",
            "test_assignment.py",
        ),
        Break(
            "the same with a provider resource of the plugin that is gone",
            "plugin/single_handler.py",
            "if pair not in self._context.declared:",
            "if True:",
            "contract/test_plugin.py::"
            "test_a_pair_that_is_still_declared_needs_no_settings_to_be_deleted",
        ),
        Break(
            "the plugin forgets what it has checked",
            "plugin/context.py",
            "self.declared.add(declared)",
            "pass",
            "contract/test_plugin.py::test_a_pair_that_is_still_declared_is_not_unassigned",
        ),
        Break(
            "a set un-assigns what another resource declares",
            "lifecycle.py",
            "elif pair not in self._declared:",
            "else:",
            "contract/test_plugin_set.py::test_deleting_takes_back_the_sets_own_pairs_alone",
        ),
        Break(
            "what a set has un-assigned is not assigned again for a later resource of the run",
            "plugin/single_handler.py",
            "in self._context.declared.unassigned():",
            "in ():",
            "reliability/test_plugin_sweep.py::"
            "test_what_a_set_lets_go_of_and_a_later_resource_holds_is_assigned_again",
        ),
        Break(
            "a create does not wait for the delete of its pair that is under way",
            "lifecycle.py",
            "pair = (vm_ref, backup_location_id)\n        with self._declared.lock(pair):",
            "pair = (vm_ref, backup_location_id)\n        if True:",
            "test_lifecycle.py",
        ),
    ],
    "A pair that one process un-assigns while another one declares it is assigned in the end.": [
        Break(
            "the process that un-assigns does not look again after its DELETE",
            "lifecycle.py",
            "        if pair in self._declared:\n            self._assign_again(pair)\n",
            "",
            "contract/test_takeover.py",
        ),
        Break(
            "a process does not tell what it un-assigns",
            "lifecycle.py",
            "self._declared.begin_to_unassign(pair)",
            "pass",
            "contract/test_takeover.py",
        ),
        Break(
            "a dynamic resource without a change does not ask what others un-assign",
            "assignment.py",
            "if not changes:",
            "if False:",
            "contract/test_takeover.py",
        ),
        Break(
            "a DELETE is sent again although the pair is declared by now",
            "lifecycle.py",
            "or (not assigned and pair in self._declared)",
            "or False",
            "test_lifecycle.py",
        ),
        Break(
            "a listing that lags behind the DELETE of another process is proof",
            "lifecycle.py",
            "if assigned and removed_at is None and pair in self._declared.unassigned():",
            "if False:",
            "contract/test_takeover.py",
        ),
        Break(
            "a folder that cannot be read is taken for an empty one",
            "declared.py",
            "raise _unreadable(folder, error) from None",
            "continue",
            "test_declared.py",
        ),
        Break(
            "a set without a change does not ask what others un-assign",
            "plugin/set_difference.py",
            "if id_ in held and (vm_ref, id_) in unassigned",
            "if False",
            "contract/test_takeover.py",
        ),
    ],
    "What one process of a run declares, no other process of the run un-assigns.": [
        Break(
            "the files of other processes are not read",
            "declared.py",
            'if path != own and path.name.startswith(f"{self._run.id}-"):',
            "if False:",
            "test_declared.py",
        ),
        Break(
            "what a killed process has left is believed",
            "declared.py",
            "            _remove_if_left(path)",
            "            raise OSError",
            "test_declared.py",
        ),
        Break(
            "what another run declares is believed",
            "declared.py",
            'if path != own and path.name.startswith(f"{self._run.id}-"):',
            "if path != own:",
            "test_declared.py",
        ),
        Break(
            "a process does not lock its file, so that others take it for a killed one's",
            "declared.py",
            "            if hold:\n                hold(file)\n",
            "",
            "test_declared.py",
        ),
        Break(
            "a process whose engine was killed goes on declaring",
            "declared.py",
            "threading.Thread(target=self._withdraw_when_over, daemon=True).start()",
            "pass",
            "test_declared.py",
        ),
    ],
    "The same pair in two resources fails the preview, with both names.": [
        Break(
            "a Python program may declare a pair twice",
            "assignment.py",
            "if first != urn:",
            "if False:",
            "test_assignment.py",
        ),
        Break(
            "a program of the plugin may declare a pair twice",
            "plugin/context.py",
            "for pair, other in declared.items() if other != urn}",
            "for pair, other in declared.items() if not other}",
            "contract/test_plugin.py::test_the_same_pair_of_two_resources_names_both",
        ),
    ],
    "The same ids on two servers are two assignments.": [
        Break(
            "what is declared on one server counts on all",
            "declared.py",
            "found = (by_server.get(server) for server in (self._server, _UNKNOWN_SERVER))",
            "found = iter(by_server.values())",
            "contract/test_servers.py",
        ),
        Break(
            "what is declared on an unknown server counts on none",
            "declared.py",
            "for server in (self._server, _UNKNOWN_SERVER))",
            "for server in (self._server,))",
            "test_declared.py",
        ),
        Break(
            "a move to another server is an update",
            "assignment.py",
            'replaces.append("connection")',
            "pass",
            "contract/test_servers.py",
        ),
        Break(
            "a program may not use the same ids on two servers",
            "assignment.py",
            "urns.setdefault((server, (vm_ref, backup_location_id)), urn)",
            'urns.setdefault(("", (vm_ref, backup_location_id)), urn)',
            "test_assignment.py",
        ),
        Break(
            "each name of a connection has a session of its own",
            "assignment.py",
            "key = replace(settings, connection=None)",
            "key = settings",
            "contract/test_servers.py",
        ),
    ],
    "An update that would un-assign much needs a setting.": [
        Break(
            "a set un-assigns as much as the program says",
            "plugin/set_handler.py",
            "if len(removed) <= max(FEW_PAIRS, total / 2):",
            "if True:",
            "contract/test_removals.py",
        ),
        Break(
            "a set does not wait for the resource that takes pairs over",
            "plugin/set_handler.py",
            "if time.monotonic() > give_up_at or",
            "if True or",
            "contract/test_removals.py",
        ),
        Break(
            "single resources are un-assigned however many they are",
            "declared.py",
            "if count > max(FEW_PAIRS, declared):",
            "if False:",
            "test_declared.py",
        ),
        Break(
            "the un-assigned pairs of single resources are not counted",
            "lifecycle.py",
            "self._declared.refuse_mass_removal(pair, remedy)",
            "pass",
            "contract/test_removals.py",
        ),
        Break(
            "a preview does not refuse it",
            "plugin/set_handler.py",
            "        self._refuse_mass_removal(urn, old, new, unlisted=unlisted)\n"
            "        if unlisted:\n",
            "        if unlisted:\n",
            "contract/test_removals.py",
        ),
        Break(
            "a stack with many single resources cannot be destroyed",
            "lifecycle.py",
            "if self._declared.is_update and not settings",
            "if not settings",
            "contract/test_removals.py",
        ),
    ],
    "A VM that the server does not list at present is not un-assigned.": [
        Break(
            "a set un-assigns it",
            "plugin/set_handler.py",
            " and pair[0] not in unlisted\n",
            "\n",
            "contract/test_removals.py",
        ),
        Break(
            "a set that is deleted un-assigns it",
            "plugin/set_handler.py",
            "for pair in pairs_of(old.vms) if pair[0] not in left]",
            "for pair in pairs_of(old.vms)]",
            "contract/test_removals.py",
        ),
        Break(
            "a single resource un-assigns it",
            "lifecycle.py",
            "                    return False\n                remedy",
            "                    pass\n                remedy",
            "contract/test_removals.py",
        ),
        Break(
            "a refresh drops the VMs of a host that is off",
            "plugin/set_handler.py",
            "held.update(pairs_of(self._kept(gone)))",
            "self._kept(gone)",
            "contract/test_removals.py",
        ),
    ],
    "What an exclusive set un-assigns, no other resource of the program declares.": [
        Break(
            "a resource that is checked after the set passes",
            "plugin/context.py",
            "if set_urn != urn and location_id not in ids",
            "if False",
            "contract/test_servers.py",
        ),
        Break(
            "a resource that is checked before the set passes",
            "plugin/context.py",
            "if other != urn and location_id not in ids",
            "if False",
            "contract/test_servers.py",
        ),
        Break(
            "other processes are not told of exclusive sets",
            "plugin/context.py",
            "declared.add_exclusive(exclusive)",
            "pass",
            "contract/test_servers.py",
        ),
    ],
    "A state that somebody has edited ends in a sentence, and nothing is un-assigned by a guess.": [
        Break(
            "a time that cannot be read is taken as it is",
            "states.py",
            "return str(assigned_at) if is_time else now()",
            "return str(assigned_at)",
            "contract/test_edited_states.py",
        ),
        Break(
            "a set's state is not looked at",
            "plugin/set_values.py",
            "for path, reason in (*failures, *wrong):",
            "for path, reason in ():",
            "contract/test_edited_states.py",
        ),
    ],
    # One lost call is survived
    "After a write whose answer is lost, a listing of the VM's locations decides.": [
        Break(
            "a lost POST is sent again without a look at the listing",
            "lifecycle.py",
            "except UnreachableError as error:",
            "except (UnreachableError, LostAnswerError) as error:",
            "test_lifecycle.py",
        ),
        Break(
            "a lost POST is sent again although the listing shows the pair",
            "lifecycle.py",
            "if is_proof and is_listed is assigned:",
            "if is_proof and is_listed is assigned and not assigned:",
            "test_lifecycle.py",
        ),
        Break(
            "a lost DELETE is taken for done",
            "lifecycle.py",
            "or failure.is_server_error:\n                return False",
            "or failure.is_server_error:\n                return not assigned",
            "test_lifecycle.py",
        ),
        Break(
            "the client itself sends a lost write again",
            "client.py",
            "                except InvalidTokenError as error:\n                    over = error",
            "                except (InvalidTokenError, LostAnswerError) as error:\n"
            "                    over = error",
            "test_client.py",
        ),
    ],
    "Calls have the forms that public clients send.": [
        Break(
            "a VM's locations are asked for without flags",
            "client.py",
            '(_flags(kind) if kind else ("1", "1"))',
            "(_flags(kind) if kind else ())",
            "test_client.py",
        ),
    ],
    "A read and a session start are tried three times in all, with pauses spread by chance.": [
        Break(
            "a read is tried once",
            "client.py",
            "except NoAnswerError as error:\n                failure",
            "except NoAnswerError as error:\n                raise\n                failure",
            "test_client.py",
        ),
        Break(
            "a read is tried four times",
            "client.py",
            "for factor in (1, 2):",
            "for factor in (1, 2, 4):",
            "test_client.py",
        ),
        Break(
            "threads that failed together come back together",
            "client.py",
            "random.uniform(0.5, 1.5)",
            "1",
            "test_client.py",
        ),
        Break(
            "a write is given up when the server cannot be reached once",
            "lifecycle.py",
            "failure = error  # nothing was sent, so there is nothing to look up",
            "raise",
            "test_lifecycle.py",
        ),
    ],
    "A session that is over is started anew, once for all threads, and the call is sent again.": [
        Break(
            "each thread forgets the session that another one has started anew",
            "session.py",
            "if self._token == token:",
            "if True:",
            "test_client.py",
        ),
        Break(
            "a call within a session that is over fails",
            "client.py",
            "            self._session.forget(token)",
            "            self._session.forget(token)\n            raise",
            "test_client.py",
        ),
    ],
    "A dead session is renewed whatever its answer looks like.": [
        Break(
            "an HTTP 401, 403 or page that stays ends no session",
            "client.py",
            "if may_end or error.refuses_session:",
            "if False:",
            "test_session.py",
        ),
        Break(
            "a read that is refused in unknown words is not tried in a new session",
            "client.py",
            "if not self._may_be_due_to_session(refusal):",
            "if True:",
            "test_session.py",
        ),
        Break(
            "a read that is answered with a page is not tried in a new session",
            "client.py",
            "return get(may_end_session=failures == 1)",
            "return get()",
            "test_session.py",
        ),
        Break(
            "a write that is refused in unknown words is not sent again",
            "lifecycle.py",
            "if is_first and failure.session != self._client.session:",
            "if False:",
            "test_session.py",
        ),
        Break(
            "a tool that ends all sessions twice in a row fails a run",
            "client.py",
            "LONGEST_ROW_OF_SESSIONS = 6",
            "LONGEST_ROW_OF_SESSIONS = 2",
            "test_session.py",
        ),
    ],
    "What fails ends soon: in fewer than 20 calls, each given up after its time.": [
        Break(
            "a listing that does not change yet is asked for at short intervals",
            "lifecycle.py",
            "poll_seconds *= 4",
            "poll_seconds *= 1",
            "test_lifecycle.py",
        ),
        Break(
            "an answer that trickles is waited for without an end",
            "transport.py",
            "if time.monotonic() > answer_until:",
            "if False:",
            "test_client.py",
        ),
        Break(
            "a call has no time limit",
            "transport.py",
            "json=body,\n            timeout=timeout,",
            "json=body,\n            timeout=None,",
            "test_client.py::"
            "test_each_request_says_localhost_and_follows_no_redirect_and_has_a_time_limit",
        ),
        Break(
            "an endless answer is read into memory",
            "transport.py",
            "if len(content) > LONGEST_ANSWER_BYTES:",
            "if False:",
            "test_client.py",
        ),
    ],
    # Only definite answers count
    "Only a definite listing says that an assignment is gone.": [
        Break(
            "a refused listing is taken for a VM that is gone",
            "lifecycle.py",
            "if self._manages(vm_ref):\n                raise",
            "if False:\n                raise",
            "test_lifecycle.py",
        ),
        Break(
            "an empty list of VMs is taken for a VM that is gone",
            "catalog.py",
            "not self._answers[name]:\n                    del",
            "False:\n                    del",
            "test_lifecycle.py",
        ),
        Break(
            "an answer without a list is read as an empty list",
            "client.py",
            'raise LostAnswerError(f"The server\'s answer has no list of {key}.")',
            "return []",
            "test_client.py",
        ),
        Break(
            "an answer that fails by its HTTP status is taken for success",
            "transport.py",
            'if answer["Success"] and status < 300:',
            'if answer["Success"]:',
            "test_client.py",
        ),
        Break(
            "a server that takes no session lets an assignment look gone",
            "lifecycle.py",
            "        except RefusedError:\n            # How",
            "        except UnreachableError:\n            return []\n"
            "        except RefusedError:\n            # How",
            "contract/test_plugin.py::test_no_definite_answer_is_never_gone test_lifecycle.py",
        ),
    ],
    "A VM counts as gone only on a server that knows it or the location.": [
        Break(
            "a refresh drops what a server does not know",
            "lifecycle.py",
            "if locations is None and expected:",
            "if False:",
            "reliability/test_sweep.py::"
            "test_a_server_that_is_another_one_for_the_rest_of_a_run_makes_nothing_lost",
        ),
        Break(
            "a refused DELETE counts as done on such a server",
            "lifecycle.py",
            "            if locations is None:\n"
            "                self.refuse_wrong_server(*pair, *expected, "
            "failure=failure, is_new=assigned)\n",
            "",
            "reliability/test_sweep.py::"
            "test_a_server_that_is_another_one_for_the_rest_of_a_run_makes_nothing_lost",
        ),
        Break(
            "a server that knows neither the VM nor the location is the right one",
            "lifecycle.py",
            "if location_ids.isdisjoint(expected):",
            "if False:",
            "reliability/test_sweep.py::"
            "test_a_server_that_is_another_one_for_the_rest_of_a_run_makes_nothing_lost",
        ),
        Break(
            "an update that removes a resource counts as done on such a server",
            "lifecycle.py",
            "                    self.refuse_wrong_server(*pair)\n                    return False",
            "                    return False",
            "reliability/test_sweep.py::test_an_up_that_only_removes_fails_on_another_site",
        ),
        Break(
            "an update that removes VMs of a set ends well on such a server",
            "plugin/set_handler.py",
            "self._context.lifecycle.refuse_wrong_server(ref, *expected)",
            "pass",
            "reliability/test_plugin_sweep.py::test_an_up_that_only_removes_fails_on_another_site",
        ),
        Break(
            "the list of VMs from before a tunnel led to another site decides",
            "catalog.py",
            'return self._lists.get("virtual machines", client, of_this_session=True)',
            'return self._lists.get("virtual machines", client)',
            "reliability/test_sweep.py::"
            "test_a_server_that_is_another_one_for_the_rest_of_a_run_makes_nothing_lost",
        ),
    ],
    "An empty list of locations is an error.": [
        Break(
            "a server that lists no locations has none",
            "catalog.py",
            "    if not locations:\n        raise _nothing_listed",
            "    if False:\n        raise _nothing_listed",
            "command/test_command.py",
        ),
        Break(
            "a snapshot of a server that lists no locations is written",
            "command/snapshot.py",
            "    refuse_no_locations(inventory.backup_locations)\n",
            "",
            "command/test_command.py",
        ),
    ],
    "A VM that is gone from VM Backup takes its assignments with it.": [
        Break(
            "the delete of an assignment of such a VM fails",
            "lifecycle.py",
            "                raise\n            return None",
            "                raise\n            raise",
            "test_lifecycle.py::test_what_is_not_assigned_after_a_failed_delete_is_unassigned",
        ),
        Break(
            "a VM that is no longer configured counts as there",
            "lifecycle.py",
            "vm.ref == vm_ref and vm.is_assignable",
            "vm.ref == vm_ref",
            "test_lifecycle.py",
        ),
    ],
    "A refresh notices what was removed on the server.": [
        Break(
            "the dynamic provider keeps what is gone",
            "assignment.py",
            'return dynamic.ReadResult("", {})',
            "return dynamic.ReadResult(id_, props)",
            "test_assignment.py",
        ),
        Break(
            "a refresh does not give the inputs, so that drift is not compared with the program",
            "assignment.py",
            '"assigned_at": assigned_at}, inputs',
            '"assigned_at": assigned_at}',
            "test_assignment.py",
        ),
        Break(
            "a set keeps what is gone",
            "plugin/set_handler.py",
            "if each in there or may_be_missing",
            "if each",
            "contract/test_plugin_set.py::test_a_refresh_shows_what_vanished",
        ),
        Break(
            "a VM is not listed anew after a write",
            "lifecycle.py",
            "self._listings.pop(vm_ref, None)",
            "pass",
            "test_lifecycle.py::test_after_a_write_the_vm_is_listed_anew",
        ),
    ],
    "For settleSeconds a listing is no proof against the last write, and afterwards it is.": [
        Break(
            "a fresh assignment that is not listed yet is dropped",
            "lifecycle.py",
            "return max(0, self._settle_seconds - abs(age_seconds))",
            "return 0",
            "test_lifecycle.py",
        ),
        Break(
            "an old assignment that is not listed is never dropped",
            "lifecycle.py",
            "return max(0, self._settle_seconds - abs(age_seconds))",
            "return self._settle_seconds",
            "test_lifecycle.py",
        ),
        Break(
            "a listing from before the DELETE proves that a lost POST was done",
            "lifecycle.py",
            "present_from=0 if removed_at is None else removed_at + self._settle_seconds,",
            "present_from=0,",
            "test_lifecycle.py",
        ),
        Break(
            "a listing right after a lost POST proves that it was not done",
            "lifecycle.py",
            "        if assigned:\n            self.absent_from = settled_at\n        else:",
            "        if not assigned:",
            "test_lifecycle.py",
        ),
        Break(
            "a listing right after a lost DELETE proves that it was not done",
            "lifecycle.py",
            "        else:\n            self.present_from = settled_at",
            "",
            "test_lifecycle.py",
        ),
    ],
    # Sessions
    "A process has one session, and its requests are limited.": [
        Break(
            "each resource has a client of its own",
            "assignment.py",
            "if key not in self._lifecycles:",
            "if True:",
            "test_assignment.py",
        ),
        Break(
            "a server gets more requests at a time than are set",
            "transport.py",
            "self._free_turns = settings.parallel_requests",
            "self._free_turns = 64",
            "test_client.py::test_threads_share_one_session_and_at_most_four_connections "
            "contract/test_plugin.py::test_many_at_once_share_a_session_and_four_connections",
        ),
    ],
    "A session is ended when it is not needed any more.": [
        Break(
            "it is not ended with the process",
            "session.py",
            "run later.\n            at_process_end(self.close)",
            "run later.",
            "contract/test_plugin.py::test_a_signal_ends_it_and_its_session",
        ),
        Break(
            "it is not ended when it is idle",
            "session.py",
            "threading.Thread(target=self._end_when_idle, args=(token,), daemon=True).start()",
            "",
            "test_client.py::test_an_idle_session_is_ended_and_the_next_call_starts_another",
        ),
        Break(
            "it is ended while a long call is under way",
            "session.py",
            "idle_since = now if self._calls_under_way else self._last_call_at",
            "idle_since = self._last_call_at",
            "test_session.py::test_a_session_is_not_idle_while_a_call_is_under_way",
        ),
        Break(
            "its end is tried once",
            "session.py",
            "            except LostAnswerError:\n                self.",
            "            except ZeroDivisionError:\n                self.",
            "test_client.py",
        ),
        Break(
            "a look-up leaves it open",
            "catalog.py",
            "return Client(impatient(self._settings)",
            "return nullcontext(Client(self._settings)) or Client(impatient(self._settings)",
            "test_lookups.py",
        ),
        Break(
            "a resource leaves the session of the look-ups open for its provider to wait for",
            "assignment.py",
            "end_idle_sessions()\n        super()",
            "super()",
            "test_lookups.py",
        ),
        Break(
            "each look-up of a program has a session of its own",
            "program.py",
            "if pulumi.runtime.get_root_resource() is None:",
            "if True:",
            "test_lookups.py",
        ),
        Break(
            "a session that is started while its client is closed stays open",
            "session.py",
            "is_wanted = not self._is_closed",
            "is_wanted = True",
            "test_session.py",
        ),
        Break(
            "a session that was given up because reads are refused stays open",
            "session.py",
            "            token = self._token or self._doubtful_token\n            self._token",
            "            token = self._token\n            self._token",
            "test_session.py",
        ),
    ],
    "Sessions of other tools are never ended, and a given one is neither started nor ended.": [
        Break(
            "all sessions of the server are ended",
            "session.py",
            'path = f"sessions/end/{token}"',
            'path = "sessions/end"',
            "test_client.py",
        ),
        Break(
            "the session of vmbackup:sessionToken is ended",
            "session.py",
            "self._token: str | None = None",
            "self._token: str | None = settings.session_token",
            "test_client.py",
        ),
    ],
    "A busy server is waited for, once.": [
        Break(
            "it is not waited for",
            "session.py",
            "pause = min(pause, left)",
            "raise failure",
            "test_client.py",
        ),
        Break(
            "each resource waits for it again",
            "session.py",
            "was_waited_for = isinstance(self._failure, BusyError)",
            "was_waited_for = False",
            "test_client.py::"
            "test_a_server_that_was_waited_for_in_vain_is_asked_once_by_the_next_call",
        ),
        Break(
            "a session whose token was lost is not waited for",
            "session.py",
            "wait_seconds = max(wait_seconds, self._unknown_session_until - time.monotonic())",
            "pass",
            "test_client.py",
        ),
    ],
    "A refused password is sent once by a process.": [
        Break(
            "each call sends it again",
            "session.py",
            "if login.failure:",
            "if False:",
            "test_client.py",
        ),
        Break(
            "each client of the process sends it",
            "session.py",
            "login = _login(settings)",
            "login = _Login()",
            "test_logins.py",
        ),
        Break(
            "a refusal by the HTTP status is not taken for one",
            "session.py",
            "return failure.refuses_session",
            "return False",
            "test_logins.py",
        ),
        Break(
            "a refusal in unknown words is sent for ever",
            "session.py",
            "if login.unexplained > len(UNEXPLAINED_LOGIN_PAUSES):",
            "if False:",
            "test_logins.py",
        ),
        Break(
            "a server that refuses each call is sent it again for each of them",
            "client.py",
            "return not self._is_accepted and number >= MOST_UNACCEPTED",
            "return False",
            "test_logins.py",
        ),
        Break(
            "a set goes on after it",
            "bulk.py",
            "no_session = (SettingsError, LoginError, BusyError, StoppedError)",
            "no_session = (SettingsError, BusyError, StoppedError)",
            "test_bulk.py",
        ),
    ],
    "A closed client sends nothing.": [
        Break(
            "a call after the end is sent",
            "transport.py",
            "            if is_over():\n",
            "            if False:\n",
            "test_session.py",
        ),
    ],
    "One process asks for each of the server's three lists once.": [
        Break(
            "a create asks for the lists that a look-up of its process has asked for",
            "catalog.py",
            "if name not in self._answers:",
            "if True:",
            "contract/test_plugin.py::"
            "test_functions_at_once_and_creates_ask_for_each_list_once_in_one_session",
        ),
        Break(
            "each look-up has a catalog of its own",
            "lookups.py",
            "if settings not in servers:",
            "if True:",
            "test_lookups.py",
        ),
        Break(
            "threads that look up at the same time ask a server each that does not answer",
            "catalog.py",
            "with self._lock:  # so that many threads need one session",
            "if True:",
            "test_catalog.py::test_a_server_that_does_not_answer_one_thread_is_not_asked_by_the_others",
        ),
        Break(
            "each assignment asks for the names",
            "catalog.py",
            "self._has_learnt_names = True",
            "pass",
            "test_lifecycle.py",
        ),
        Break(
            "a VM is listed once for each of its assignments",
            "lifecycle.py",
            "if vm_ref in self._listings:",
            "if False:",
            "test_lifecycle.py",
        ),
    ],
    # Kills and Ctrl-C
    "After its engine was killed or interrupted, a process repeats no write and ends.": [
        Break(
            "a lost write is sent again",
            "lifecycle.py",
            "if self._is_over() or (",
            "if False or (",
            "test_lifecycle.py",
        ),
        Break(
            "the plugin does not look whether its engine is there",
            "plugin/server.py",
            "while is_by_hand or not plugin.is_over():",
            "while True:",
            "contract/test_plugin.py::test_it_ends_when_its_engine_is_gone",
        ),
        Break(
            "a set goes on after Ctrl-C",
            "plugin/server.py",
            "self._context.cancel()",
            "pass",
            "contract/test_plugin_set.py::"
            "test_a_cancelled_set_stops_and_its_state_is_what_the_server_holds",
        ),
        Break(
            "the plugin's single resources go on after Ctrl-C",
            "plugin/context.py",
            "        if connected:\n            connected.stop()\n",
            "",
            "contract/test_interrupt.py",
        ),
        Break(
            "what begins after Ctrl-C is sent",
            "plugin/context.py",
            "                if self.is_cancelled.is_set():\n",
            "                if False:\n",
            "contract/test_interrupt.py",
        ),
    ],
    # One primary location, replacements, updates
    "A replacement assigns the new pair before it un-assigns the old one.": [
        Break(
            "the dynamic provider asks to delete first",
            "assignment.py",
            "delete_before_replace=False",
            "delete_before_replace=True",
            "test_assignment.py",
        ),
        Break(
            "a set un-assigns before it assigns",
            "plugin/set_handler.py",
            "        assigned = self._each(",
            "        self._each(urn, held.keys() - wanted.keys(), assigned=False)\n"
            "        assigned = self._each(",
            "contract/test_plugin_set.py::"
            "test_an_update_assigns_what_is_new_and_then_unassigns_what_is_not_wanted",
        ),
        Break(
            "a server that moves the VM by itself makes the old pair look as if it came back",
            "lifecycle.py",
            "if assigned else self._written_at.get(pair[0])",
            "if assigned else None",
            "test_lifecycle.py::"
            "test_a_pair_that_a_write_of_the_same_run_unassigned_may_still_be_listed",
        ),
        Break(
            "a refused second primary location is not explained",
            "lifecycle.py",
            "advice = (Hint.DELETE_FIRST,)",
            "advice = ()",
            "test_lifecycle.py",
        ),
    ],
    "A create costs one POST, a delete one DELETE, and a change of the connection nothing.": [
        Break(
            "a create lists the VM first",
            "lifecycle.py",
            "            self._listings.pop(vm_ref, None)\n        try:",
            "            self._listings.pop(vm_ref, None)\n"
            "        self.locations_of(vm_ref)\n        try:",
            "test_lifecycle.py",
        ),
        Break(
            "a change of the connection assigns again",
            "assignment.py",
            "return dynamic.UpdateResult(outputs)",
            "return dynamic.UpdateResult(self.create(_news).outs)",
            "test_assignment.py",
        ),
        Break(
            "a change of the connection replaces",
            "assignment.py",
            'self._server(_olds.get("connection")) not in (server, None):',
            "True:",
            "test_assignment.py",
        ),
        Break(
            "a preview of the plugin assigns",
            "plugin/server.py",
            "if request.preview:\n            return",
            "if False:\n            return",
            "contract/test_plugin.py::test_a_preview_of_a_create_sends_nothing",
        ),
        Break(
            "names that the server does not tell fail a create",
            "catalog.py",
            "with suppress(VmBackupError), self._asking() as client:",
            "with self._asking() as client:",
            "test_lifecycle.py",
        ),
    ],
    # Sets
    "A set keeps what a failure leaves, and the state holds what was reached.": [
        Break(
            "a VM whose new location was refused loses its old one",
            "plugin/set_handler.py",
            "kept = {vm_ref for vm_ref, _ in (*assigned.failures, *assigned.untried)}",
            "kept = set()",
            "contract/test_plugin_set.py::"
            "test_a_vm_whose_new_location_is_refused_keeps_its_old_ones",
        ),
        Break(
            "a create that failed in part leaves no state",
            "plugin/set_handler.py",
            "if olds is None and not held:",
            "if olds is None:",
            "contract/test_plugin_set.py::"
            "test_the_rest_is_carried_on_with_and_the_next_update_assigns_what_is_missing",
        ),
        Break(
            "what could not be un-assigned is missing in the state",
            "plugin/set_handler.py",
            "outputs = reached.outputs_of(held.keys() - unassigned.done, named=named)",
            "outputs = reached.outputs_of(held.keys() & wanted.keys(), named=named)",
            "contract/test_plugin_set.py::test_what_could_not_be_unassigned_stays_in_the_state",
        ),
        Break(
            "other locations of an exclusive set that were not looked for are forgotten",
            "plugin/set_handler.py",
            "is_exclusive = bool(new.exclusive) and not kept",
            "is_exclusive = bool(new.exclusive)",
            "contract/test_plugin_set.py::test_strangers_of_a_vm_whose_location_was_refused_"
            "are_looked_for_by_the_next_update",
        ),
        Break(
            "other locations that could not be un-assigned are missing in the state",
            "plugin/set_handler.py",
            "others=chosen(named, {*strangers} - unassigned.done),",
            "others={},",
            "contract/test_plugin_set.py::"
            "test_a_stranger_that_could_not_be_unassigned_stays_in_the_state",
        ),
        Break(
            "a set that is deleted un-assigns the other locations too",
            "plugin/set_handler.py",
            "for pair in pairs_of(old.vms) if pair[0] not in left]",
            "for pair in pairs_of(merged(old.vms, old.others)) if pair[0] not in left]",
            "contract/test_plugin_set.py::test_strangers_are_none_of_the_sets_own",
        ),
        Break(
            "a server that stopped answering is asked for each pair",
            "bulk.py",
            "or unanswered >= UNANSWERED_IN_A_ROW",
            "",
            "test_bulk.py",
        ),
    ],
    "What is not known yet is neither checked nor compared as a value.": [
        Break(
            "the text that older SDKs send for it is checked as an id",
            "assignment.py",
            "return isinstance(value, Unknown) or value == rpc.UNKNOWN",
            "return isinstance(value, Unknown)",
            "test_assignment.py",
        ),
        Break(
            "a set whose VMs are not known yet is previewed as if all of them left it",
            "plugin/set_difference.py",
            "if new.declared is None:",
            "if False:",
            "contract/test_plugin_set.py::"
            "test_only_the_vms_and_locations_that_change_are_a_difference",
        ),
        Break(
            "a preview of an exclusive set takes unknown locations for none",
            "plugin/set_values.py",
            "if vm and vm.locations is not None and None not in vm.locations.values()",
            "if vm and vm.locations is not None",
            "contract/test_plugin_set.py::test_and_not_of_vms_whose_locations_are_not_known_yet",
        ),
        Break(
            "the plugin sends a setting that is not known yet",
            "plugin/server.py",
            "        if is_unknown(value):\n            raise SettingsError",
            "        if False:\n            raise SettingsError",
            "contract/test_plugin.py::test_settings_that_are_not_known_yet_are_never_sent",
        ),
    ],
    # Secrets, and the way to the server
    "Passwords and tokens are in no error, log record or output.": [
        Break(
            "repr() of the settings shows them",
            "settings.py",
            "repr=not is_secret, metadata=row",
            "repr=True, metadata=row",
            "test_settings.py",
        ),
        Break(
            "an error repeats them when the server does",
            "transport.py",
            "on_one_line(redact(word))",
            "on_one_line(word)",
            "test_client.py",
        ),
        Break(
            "a password with two spaces is changed before it is looked for",
            "transport.py",
            "on_one_line(redact(word))",
            "redact(on_one_line(word))",
            "test_client.py::test_a_password_with_two_spaces_is_hidden",
        ),
        Break(
            "a password of one letter hides that letter in every message",
            "transport.py",
            "_SHORTEST_UNMISTAKABLE = 4",
            "_SHORTEST_UNMISTAKABLE = 0",
            "test_transport.py",
        ),
        Break(
            "an error of the connection has the address with the token in its traceback",
            "transport.py",
            "failure = self._explain(error, timeout)\n",
            "raise self._explain(error, timeout)\n",
            "test_client.py::test_the_traceback_of_an_error_of_the_connection_holds_no_token",
        ),
        Break(
            "urllib3's log records show them",
            "transport.py",
            "logging.getLogger(_name).addFilter(_redactor)",
            "pass",
            "test_transport.py",
        ),
        Break(
            "a token that the server has made is not hidden",
            "session.py",
            "self._transport.hide_token(token)",
            "pass",
            "test_transport.py",
        ),
        Break(
            "a token without its dashes is not hidden",
            "transport.py",
            'normalize_guid(token).replace("-", "")',
            "normalize_guid(token)",
            "test_client.py",
        ),
        Break(
            "a wrong secret is repeated in the error about it",
            "settings.py",
            'value = "" if self.is_secret else f" {quoted(self.text)}"',
            'value = f" {quoted(self.text)}"',
            "test_settings.py",
        ),
        Break(
            "an address with a password in it is repeated in the error about it",
            "settings.py",
            'if set(value.text) & set("@?#"):',
            'if set(value.text) & set("?#"):',
            "test_settings.py",
        ),
        Break(
            "vmbackup doctor shows a password that stands in another setting too",
            "command/connection.py",
            "        for secret in (settings.password, settings.session_token):\n"
            "            if secret:\n                add_secret(secret)\n",
            "",
            "command/test_doctor.py::test_a_password_in_another_setting_is_not_shown",
        ),
        Break(
            "the plugin does not mark secrets, so that the state holds them as plain text",
            "plugin/server.py",
            "inputs.update({key: secret})",
            "pass",
            "contract/test_plugin.py::test_its_inputs_are_checked_and_its_secrets_marked",
        ),
        Break(
            "a password in plain text in the stack configuration is not warned of",
            "program.py",
            "    _warn_of_plain_text_secrets()\n    return",
            "    return",
            "test_program.py",
        ),
    ],
    "Credentials go to the server that they are configured for, and to nothing else.": [
        Break(
            "a redirect is followed",
            "transport.py",
            "allow_redirects=False",
            "allow_redirects=True",
            "test_client.py",
        ),
        Break(
            "a proxy is used for this machine",
            "transport.py",
            "if not settings.is_local:",
            "if True:",
            "test_client.py",
        ),
        Break(
            "the environment decides on proxies, trust and credentials of .netrc",
            "transport.py",
            "session.trust_env = False",
            "session.trust_env = True",
            "test_client.py",
        ),
        Break(
            "cookies are kept and sent",
            "transport.py",
            "session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))",
            "",
            "test_client.py",
        ),
        Break(
            "plain http goes to another machine",
            "settings.py",
            'if url.scheme == "http" and not is_loopback(url.hostname):',
            "if False:",
            "test_settings.py",
        ),
        Break(
            "a name that only begins with localhost counts as this machine",
            "settings.py",
            'return host.lower() == "localhost"',
            'return host.lower().startswith("localhost")',
            "test_settings.py",
        ),
        Break(
            "certificates are not verified",
            "transport.py",
            'conn.cert_reqs = "CERT_REQUIRED"',
            'conn.cert_reqs = "CERT_NONE"',
            "test_client.py",
        ),
        Break(
            "the host name in a certificate is not compared",
            "transport.py",
            'conn.cert_reqs = "CERT_REQUIRED"',
            'conn.cert_reqs = "CERT_REQUIRED"\n        conn.assert_hostname = False',
            "test_certificates.py::test_without_a_file_the_systems_trust_and_the_names_count",
        ),
        Break(
            "the host name in a certificate is not compared if vmbackup:caFile is set",
            "tls.py",
            "check_names(self.sock, self.ssl_context, self.server_hostname)",
            "self.sock",
            "test_certificates.py",
        ),
        Break(
            "through a proxy, the host name in a certificate is compared with that of the proxy",
            "tls.py",
            "check_names(self.sock, self.ssl_context, self.server_hostname)",
            "check_names(self.sock, self.ssl_context, self.host)",
            "test_certificates.py",
        ),
        Break(
            "the exact certificate in vmbackup:caFile is refused for its names",
            "tls.py",
            "if connected.getpeercert(binary_form=True) in context.pinned:",
            "if False:",
            "test_certificates.py",
        ),
        Break(
            "any certificate of an authority in vmbackup:caFile is trusted whatever its names are",
            "tls.py",
            "if connected.getpeercert(binary_form=True) in context.pinned:",
            "if context.pinned:",
            "test_certificates.py",
        ),
        Break(
            "a certificate in vmbackup:caFile is trusted only if it is one of an authority",
            "certificates.py",
            "context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN",
            "pass",
            "test_certificates.py",
        ),
        Break(
            "vmbackup doctor --save-certificate writes without a yes",
            "command/certificate.py",
            "if not is_yes:",
            "if False:",
            "command/test_certificate.py",
        ),
        Break(
            "vmbackup:caFile is ignored",
            "tls.py",
            "trusting(ca_file) if ca_file else ssl.create_default_context()",
            "ssl.create_default_context()",
            "test_client.py::test_https_with_a_private_certificate_works_with_its_ca_file",
        ),
        Break(
            "anything may become a part of an address",
            "client.py",
            "return tuple(map(normalize_guid, values))",
            "return values",
            "test_client.py",
        ),
        Break(
            "a named connection takes the variables of the unnamed one",
            "settings.py",
            "variable = environment_variable(key, connection)",
            "variable = environment_variable(key)",
            "test_settings.py",
        ),
        Break(
            "a provider of another server takes the password of the unnamed settings",
            "settings.py",
            "is_own = setting.is_of_server and not is_inherited",
            "is_own = False",
            "contract/test_plugin.py::test_a_provider_of_another_server_needs_credentials_of_its_own",
        ),
        Break(
            "the token of the unnamed settings wins over the account of a provider",
            "settings.py",
            '(setting.key == "sessionToken" and has_account)',
            "False",
            "test_settings.py",
        ),
        Break(
            "a provider of the program is taken for the default one because of its name",
            "plugin/server.py",
            "is_explicit = news[_EXPLICIT] = True",
            "pass",
            "contract/test_plugin.py::"
            "test_a_provider_of_the_program_has_its_own_inputs_whatever_its_name",
        ),
        Break(
            "a resource stays where it is when it moves to a provider of another server",
            "plugin/server.py",
            'replaces=["baseUrl"] if is_moved else []',
            "replaces=[]",
            "contract/test_plugin.py::"
            "test_a_resource_is_replaced_if_its_new_provider_leads_to_another_server",
        ),
        Break(
            "a domain in the user name is sent as part of it",
            "settings.py",
            "values |= _account(",
            "_account(",
            "test_settings.py",
        ),
        Break(
            "what was looked up on another server is assigned",
            "program.py",
            "if value.server != settings.server:",
            "if False:",
            "test_assignment.py",
        ),
        Break(
            "the plugin's classes take what was looked up on another server",
            "plugin/resources.py",
            "refuse_other_server(key, each, settings, remedy)",
            "pass",
            "plugin/test_resources.py",
        ),
    ],
    # Snapshots, states and words
    "A snapshot is written whole or not at all, and read by previews alone.": [
        Break(
            "it is written in place",
            "files.py",
            "patiently(lambda: partial.replace(path))",
            'path.write_text(text, "utf-8", newline="\\n")',
            "command/test_command.py",
        ),
        Break(
            "on Windows, it is not written if a reader has the old one open for a moment",
            "files.py",
            "if time.monotonic() > give_up_at:",
            "if True:",
            "test_files.py",
        ),
        Break(
            "the program of `pulumi up` reads it",
            "lookups.py",
            "pulumi.runtime.is_dry_run() and settings",
            "settings",
            "test_lookups.py",
        ),
        Break(
            "the functions of the plugin read it in `pulumi up`",
            "plugin/server.py",
            "may_read_snapshot=request.preview",
            "may_read_snapshot=True",
            "contract/test_plugin.py::"
            "test_a_preview_reads_the_snapshot_with_a_warning_where_an_update_fails",
        ),
    ],
    "What users' states hold stays as it is.": [
        Break(
            "the provider is stored as a secret",
            "assignment.py",
            "serialize_as_secret_always = False",
            "serialize_as_secret_always = True",
            "test_assignment.py",
        ),
        Break(
            "the provider is stored with its attributes",
            "assignment.py",
            "    def configure(self, req: dynamic.ConfigureRequest) -> None:",
            "    def __init__(self) -> None:\n        self.created_by = __name__\n\n"
            "    def configure(self, req: dynamic.ConfigureRequest) -> None:",
            "test_assignment.py",
        ),
        Break(
            "ids are kept as the program has them",
            "models.py",
            'return "-".join(found.group(1, 3, 4, 5, 6))',
            "return str(value)",
            "test_models.py test_assignment.py",
        ),
        Break(
            "the names of another id stay",
            "assignment.py",
            "                inputs.pop(name, None)\n",
            "                pass\n",
            "test_assignment.py",
        ),
    ],
    "An error keeps its class and advice, and says in the reader's words what to do.": [
        Break(
            "an error that is explained loses its advice",
            "errors.py",
            "other = copy.copy(self)\n        other.args = (message,)",
            "other = type(self)(message)",
            "test_errors.py",
        ),
        Break(
            "a user of YAML reads Python",
            "plugin/single_handler.py",
            "from .wording import worded",
            "from ..program import worded",
            "contract/test_plugin.py::test_check_says_of_each_wrong_id_where_to_find_a_right_one",
        ),
        Break(
            "a user of the command reads of the stack configuration",
            "command/wording.py",
            "return to_set_sentence(advice, how_to_set(advice))",
            "return for_programs(advice)",
            "test_wording.py",
        ),
        Break(
            "a wrong input is not said with its property",
            "assignment.py",
            "dynamic.CheckFailure(key, worded(error))",
            'dynamic.CheckFailure("", worded(error))',
            "test_assignment.py",
        ),
        Break(
            "the provider host prints a traceback before the sentence",
            "assignment.py",
            "raise error.reworded(sentence) from error.reworded(sentence)",
            "raise",
            "test_assignment.py",
        ),
    ],
    "The command works with names in any script, in each shell and on each system.": [
        Break(
            "it prints in the code page of the machine",
            "command/group.py",
            "    print_any_text()\n",
            "",
            "command/test_command.py",
        ),
        Break(
            "the plugin prints in the code page of the machine",
            "plugin/server.py",
            "    print_any_text()\n",
            "",
            "test_streams.py",
        ),
        Break(
            "a character that a code page lacks ends it",
            "streams.py",
            'errors="backslashreplace"',
            'errors="strict"',
            "command/test_command.py",
        ),
        Break(
            "PowerShell changes the names in JSON",
            "command/output.py",
            "c if c.isascii() else",
            "c if c else",
            "command/test_command.py",
        ),
        Break(
            "on Windows, Ctrl-C waits for the server",
            "command/group.py",
            "    _end_though_waiting()\n",
            "",
            "command/test_command.py",
        ),
    ],
    "A location that the server lists as primary and as offsite is not guessed at.": [
        Break(
            "its kind is the first list's",
            "models.py",
            "if first.kind != location.kind:",
            "if False:",
            "test_lookups.py",
        ),
    ],
    "The command, the simulator and a preview import nothing that they do not need.": [
        Break(
            "the package imports Pulumi",
            "__init__.py",
            "from importlib import import_module\n",
            "from importlib import import_module\n\nimport pulumi\n",
            "test_imports.py",
        ),
        Break(
            "a preview imports requests",
            "client.py",
            "from .session import Session\n",
            "from .session import Session\nfrom .transport import Transport\n",
            "test_imports.py",
        ),
    ],
}
"""The breaks of each promise."""
