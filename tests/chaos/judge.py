"""What is wrong with how a trial ended. Pure, but for a look at the files that lie there."""
import os
import re
import signal

HFR_INTERNAL_ERROR = 11


def problems(job):
    """Sentences; none: it ended as it may."""
    found = []
    for rank in job.ranks:
        problem = _of_rank(job, rank)
        if problem:
            found.append(f"rank {rank.number} {problem}")
    return found + _against_expectation(job) + _unnamed_culprit(job) + _two_children(job.ranks) + _files_left(job)


def _of_rank(job, rank):
    report = rank.report
    if os.WIFSIGNALED(rank.status):
        number = os.WTERMSIG(rank.status)
        if not (rank.killed and number == signal.SIGKILL):
            return f"died by {signal.Signals(number).name}"
    if not report:
        return None if rank.killed else f"ended without a report (wait status {rank.status})"
    if report["outcome"] == "unable":
        limited = any(s.fault.kind in ("memory", "descriptors") and s.fault.rank == rank.number for s in job.strikes)
        return None if limited else f"could not do its own work: {report['sentence']}"
    if report["outcome"] == "wrong":
        return f"got wrong sums: {report['sentence']}"
    if report["left"]:
        return f"left behind: {report['left']}"
    if report["nameless"]:
        return f"failed without a sentence, in {report['nameless']}"
    if report["status"] == HFR_INTERNAL_ERROR or "(11):" in report["then"]:
        return f"had an internal error: {report['sentence']}; {report['then']}"
    if report["latest_ms"] > rank.paused_ms + job.margin_s * 1000:
        return f"came back from a call {report['latest_ms']} ms later than promised"
    return None


def _against_expectation(job):
    found = []
    for rank in job.ranks:
        report = rank.report
        if rank.killed or not report:
            continue
        may_fail = rank.number >= job.trial.num_first and job.trial.expect == "survive"  # whom it was to join are gone, maybe
        if job.trial.expect in ("right", "survive") and report["outcome"] == "error" and not may_fail:
            found.append(f"rank {rank.number} should have ended with right sums, but: {report['sentence']}; {report['then']}")
        elif job.trial.expect == "right" and report.get("failures", 0) > 0:
            found.append(f"rank {rank.number} should not have noticed anything, but had an error, and shrank")
    return found


def _unnamed_culprit(job):
    """One rank that is gone, and nothing else: the others say which. New ranks may not have met it; a part that splits off has numbers of its own."""
    if any("split" in rank.report.get("where", "") for rank in job.ranks):
        return []
    if len(job.strikes) != 1 or job.strikes[0].fault.kind not in ("kill", "stop") or job.strikes[0].state != "done":
        return []
    victim = job.strikes[0].fault.rank
    return [f"rank {rank.number} does not name rank {victim}: {rank.report['sentence']}" for rank in job.ranks[:job.trial.num_first]
            if rank.number != victim and rank.report.get("outcome") == "error"
            and not re.search(rf"\branks?\b.*\b{victim}\b", rank.report["sentence"])]


def _two_children(ranks):
    """Of two communicators that summed at the same time one's members are all in the other: its other members had finished."""
    lives = {}
    for rank in ranks:
        report = rank.report
        if report.get("outcome") == "right" and report["until_ns"] > report["since_ns"]:
            since, until = lives.get(report["members"], (0, 0))
            lives[report["members"]] = (max(since, report["since_ns"]), max(until, report["until_ns"]))
    sets = sorted(lives)
    return [f"two communicators summed beside each other: members {one:b} and {other:b}"
            for idx, one in enumerate(sets) for other in sets[idx + 1:]
            if max(lives[one][0], lives[other][0]) < min(lives[one][1], lives[other][1]) and one & other not in (one, other)]


def _files_left(job):
    """What lies in the trial's folders must be known; records only of who failed or was killed."""
    found = []
    clean = {str(rank.pid) for rank in job.ranks if rank.report.get("outcome") == "right" and rank.report["failures"] == 0}
    for name in sorted(os.listdir(job.records)) if os.path.isdir(job.records) else []:
        match = re.fullmatch(r"[0-9a-f]{16}-\d+-(\d+)\.record", name)
        if match is None and name != "dumps":
            found.append(f"a file was left: {name}")
        elif match and match[1] in clean:
            found.append(f"a rank that ended well left its record: {name}")
    known = re.compile(r"page|trial\.json|disk|records|rank\.\d+\.(out|err|stacks)|trace\.\d+\.json(\.\w+(-\d+)*)*")
    any_lost = any(rank.killed or os.WIFSIGNALED(rank.status) for rank in job.ranks)
    for name in sorted(os.listdir(job.folder)):
        if known.fullmatch(name) is None and not (any_lost and name.startswith("metrics")):
            found.append(f"a file was left: {name}")
    return found
