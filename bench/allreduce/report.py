"""What the timing programs print, and what is made of it: medians, ratios, tables."""

import re
import statistics
from dataclasses import dataclass

LIMIT = "limit"  # the program that is no library, and so no peer
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text):
    """'64K' -> 65536. K, M and G are powers of 1024."""
    match = re.fullmatch(r"([0-9]+)([KMG]?)", text.strip(), re.IGNORECASE)
    if not match or int(match[1]) == 0:
        raise ValueError(f"'{text}' is not a size: write bytes, with K, M or G for powers of 1024")
    return int(match[1]) * UNITS[match[2].upper()]


def parse_sizes(text):
    return [parse_size(item) for item in text.split(",")]


def format_size(size):
    for unit in "GMK":
        if size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


@dataclass
class Timing:
    """One size in one run of one program, in microseconds per operation."""

    median_us: float
    min_us: float
    max_us: float


def parse_output(text, sizes):
    """({size: Timing}, version) of a program's standard output.

    A line is `size_bytes median_us min_us max_us`, or a remark that begins with '#', the first of
    which names the library and its version. Anything else, a missing size or a doubled one is a
    ValueError: a launcher that chats on standard output must not pass for a measurement.
    """
    timings = {}
    version = ""
    for line in text.splitlines():
        if line.startswith("#"):
            version = version or line[1:].strip()
            continue
        if not line.strip():
            continue
        words = line.split()
        try:
            size = int(words[0])
            values = [float(word) for word in words[1:]]
        except ValueError:
            raise ValueError(f"'{line}' is not 'size_bytes median_us min_us max_us'") from None
        if len(values) != 3 or not 0 < values[1] <= values[0] <= values[2]:
            raise ValueError(f"'{line}' is not 'size_bytes median_us min_us max_us'")
        if size in timings:
            raise ValueError(f"size {size} came twice")
        timings[size] = Timing(*values)
    missing = [size for size in sizes if size not in timings]
    if missing or len(timings) != len(sizes):
        raise ValueError(f"sizes {sorted(timings)} came, {sorted(sizes)} were asked for")
    return timings, version


def library_median(rounds, library, size):
    """Median over the rounds of one library's medians; None when it never ran.

    `rounds` is a list of {library: {size: Timing}}, one per round.
    """
    times = [one[library][size].median_us for one in rounds if library in one]
    return statistics.median(times) if times else None


@dataclass
class Row:
    """HFReduce against the best peer at one size. Ratio: the peer's time over HFReduce's."""

    size: int
    ours_us: float
    peer: str
    peer_us: float
    ratio: float
    ratio_low: float
    ratio_high: float
    of_limit: float | None = None  # the limit's time over HFReduce's


def compare(rounds, libraries, sizes, ours="hfreduce"):
    """One Row per size. The best peer has the lowest median over all rounds; the ratio is taken
    within each round, where both ran next to each other, and its median and range are reported."""
    rows = []
    for size in sizes:
        ours_us = library_median(rounds, ours, size)
        peers = [
            (library_median(rounds, library, size), library)
            for library in libraries
            if library not in (ours, LIMIT)
            and library_median(rounds, library, size) is not None
        ]
        if ours_us is None or not peers:
            continue
        peer_us, peer = min(peers)
        ratios = ratios_to_ours(rounds, peer, ours, size)
        if not ratios:
            continue
        of_limit = ratios_to_ours(rounds, LIMIT, ours, size)
        rows.append(
            Row(
                size,
                ours_us,
                peer,
                peer_us,
                statistics.median(ratios),
                min(ratios),
                max(ratios),
                statistics.median(of_limit) if of_limit else None,
            )
        )
    return rows


def ratios_to_ours(rounds, other, ours, size):
    """The other's time over ours, in each round that has both."""
    return [
        one[other][size].median_us / one[ours][size].median_us
        for one in rounds
        if other in one and ours in one
    ]


def format_us(value):
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.2f}"
    return f"{value:,.0f}"


def markdown(header, lines):
    """A table that reads well as text and as Markdown; the first column is left-aligned."""
    cells = [header] + lines
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]

    def row(line):
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)
    )
    return "\n".join([row(header), rule + "|"] + [row(line) for line in lines])


def comparison_table(rows):
    header = ["bytes", "HFReduce us", "GB/s", "best peer us", "peer", "peer/HFReduce", "range", "limit/HFReduce"]
    lines = [
        [
            format_size(row.size),
            format_us(row.ours_us),
            f"{row.size / row.ours_us / 1e3:.2f}",
            format_us(row.peer_us),
            row.peer,
            f"{row.ratio:.2f}",
            f"{row.ratio_low:.2f}-{row.ratio_high:.2f}",
            "-" if row.of_limit is None else f"{row.of_limit:.2f}",
        ]
        for row in rows
    ]
    return markdown(header, lines)


def builds_table(rounds, builds, sizes, ours="hfreduce"):
    """Each build's time over ours: median and range over the rounds, '-' where none has both."""

    def cell(build, size):
        ratios = ratios_to_ours(rounds, build, ours, size)
        if not ratios:
            return "-"
        return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"

    lines = [[format_size(size)] + [cell(build, size) for build in builds] for size in sizes]
    return markdown(["bytes"] + list(builds), lines)


def library_table(rounds, libraries, sizes):
    """Median over the rounds of every library, in microseconds."""
    lines = [
        [format_size(size)]
        + [format_us(library_median(rounds, library, size)) for library in libraries]
        for size in sizes
    ]
    return markdown(["bytes"] + list(libraries), lines)


def ratio_table(rounds, ours, peers, sizes):
    """Each peer's time over each of ours, which are variants of one library."""
    peers = [peer for peer in peers if peer != LIMIT]
    pairs = [(our, peer) for our in ours for peer in peers]
    lines = []
    for size in sizes:
        lines.append([format_size(size)])
        for our, peer in pairs:
            ratios = ratios_to_ours(rounds, peer, our, size)
            lines[-1].append(
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
                if ratios
                else "-"
            )
    return markdown(["bytes"] + [f"{peer}/{our}" for our, peer in pairs], lines)


@dataclass
class OverlapTiming:
    """One batch of one program: microseconds of a matrix product and of an allreduce, each alone
    and then beside the other."""

    gemm_alone_us: float
    gemm_beside_us: float
    reduce_alone_us: float
    reduce_beside_us: float


def parse_overlap(text, sizes):
    """({size: [OverlapTiming]}, version) of a program's standard output.

    A line is `size_bytes gemm_alone_us gemm_beside_us reduce_alone_us reduce_beside_us`, several for
    a size. Remarks and errors are as in parse_output.
    """
    expected = "size_bytes gemm_alone_us gemm_beside_us reduce_alone_us reduce_beside_us"
    timings = {}
    version = ""
    for line in text.splitlines():
        if line.startswith("#"):
            version = version or line[1:].strip()
            continue
        if not line.strip():
            continue
        words = line.split()
        try:
            size = int(words[0])
            values = [float(word) for word in words[1:]]
        except ValueError:
            raise ValueError(f"'{line}' is not '{expected}'") from None
        if len(values) != 4 or not all(value > 0 for value in values):
            raise ValueError(f"'{line}' is not '{expected}'")
        timings.setdefault(size, []).append(OverlapTiming(*values))
    if sorted(timings) != sorted(sizes):
        raise ValueError(f"sizes {sorted(timings)} came, {sorted(sizes)} were asked for")
    return timings, version


@dataclass
class OverlapRow:
    """One library at one size. Ratios are taken within each batch: (median, least, most)."""

    size: int
    library: str
    gemm_us: float
    gemm_slowdown: tuple
    reduce_us: float
    reduce_slowdown: tuple


def overlap_rows(rounds, libraries, sizes):
    """One OverlapRow per size and library, over the batches of all rounds."""

    def spread(values):
        return statistics.median(values), min(values), max(values)

    rows = []
    for size in sizes:
        for library in libraries:
            batches = [b for one in rounds if library in one for b in one[library][size]]
            rows.append(
                OverlapRow(
                    size,
                    library,
                    statistics.median(b.gemm_alone_us for b in batches),
                    spread([b.gemm_beside_us / b.gemm_alone_us for b in batches]),
                    statistics.median(b.reduce_alone_us for b in batches),
                    spread([b.reduce_beside_us / b.reduce_alone_us for b in batches]),
                )
            )
    return rows


def overlap_table(rows):
    """How much longer each takes beside the other."""

    def percent(ratio):
        return f"{(ratio - 1) * 100:+.1f} %"

    lines = [
        [
            format_size(row.size),
            row.library,
            format_us(row.gemm_us),
            percent(row.gemm_slowdown[0]),
            " to ".join(percent(ratio) for ratio in row.gemm_slowdown[1:]),
            format_us(row.reduce_us),
            percent(row.reduce_slowdown[0]),
            " to ".join(percent(ratio) for ratio in row.reduce_slowdown[1:]),
        ]
        for row in rows
    ]
    header = ["bytes", "library", "GEMM us", "beside", "range", "allreduce us", "beside", "range"]
    return markdown(header, lines)
