"""What a writer does before its first append: find where the acknowledged records end, cut off what a crash tore,
and say so to readers. After a kill nothing is torn; after a power cut the last commit may be.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from appliance.spool.files import Files, OpenFile
from appliance.spool.framing import (
    FRAME_HEADER,
    SEGMENT_HEADER,
    Position,
    SpoolState,
    payload_is_whole,
    unpack_frame_header,
)
from appliance.spool.layout import Chain, StateFile, read_segment_header, segment_numbers, segment_path

log = structlog.get_logger(__name__)


def recover(files: Files, directory: Path, epoch: int, state_file: StateFile) -> SpoolState:
    """Bring directory and state into agreement; everything that was acknowledged lies before the returned end.

    Raises:
        OSError: the disk refuses; nothing may be accepted.
    """
    state = state_file.read()
    if state is None or state.epoch != epoch:
        state = SpoolState(epoch)
    numbers = segment_numbers(files, directory)
    highest = max([state.highest, *numbers])
    end, sequence = Position(0, 0), state.next_sequence
    for number in reversed(numbers):
        found = _recover_segment(files, directory, number, state)
        if found is not None:
            offset, sequence = found
            end = Position(number, offset)
            break
        files.remove(segment_path(directory, number))  # made, but never acknowledged into
    recovered = SpoolState(epoch, highest, end.segment, end.offset, sequence)
    state_file.write(recovered)
    state_file.sync()
    _remove_strays(files, directory, recovered)
    files.sync_directory(directory)
    return recovered


def _recover_segment(files: Files, directory: Path, number: int, state: SpoolState) -> tuple[int, int] | None:
    """Where its good records end and the next sequence number; None when it holds none."""
    file = files.open(segment_path(directory, number))
    try:
        size = file.size()
        header = read_segment_header(files, directory, number, state.epoch)
        if number == state.segment and SEGMENT_HEADER <= state.offset <= size:
            # What was published is never cut, even where the disk has since damaged it: readers step over that.
            end, sequence = _good_end(file, state.offset, state.next_sequence, size)
        else:
            end, sequence = _good_end(file, SEGMENT_HEADER, header.first_sequence if header else None, size)
        if end == SEGMENT_HEADER or sequence is None:
            return None
        if end < size:
            log.warning("spool_tail_cut", segment=number, offset=end, bytes=size - end)
            file.truncate(end)
        file.sync()  # after a kill the last frames may be in the page cache alone
    finally:
        file.close()
    return end, sequence


def _good_end(file: OpenFile, start: int, sequence: int | None, size: int) -> tuple[int, int | None]:
    """Walk whole, consecutive frames from `start`; the first that is neither ends it: only the last commit can be torn.

    `sequence` is the first frame's; None takes what it says, for a segment whose own header is damaged.
    """
    offset = start
    while offset + FRAME_HEADER <= size:
        header = unpack_frame_header(file.read_at(FRAME_HEADER, offset))
        if header is None or (sequence is not None and header.sequence != sequence):
            break
        if not payload_is_whole(header, file.read_at(header.length, offset + FRAME_HEADER)):
            break
        offset += FRAME_HEADER + header.length
        sequence = header.sequence + 1
    return offset, sequence


def _remove_strays(files: Files, directory: Path, state: SpoolState) -> None:
    """Unlink segments that no later one names: attempts that failed before anything was acknowledged into them."""
    chain = {sealed.number for sealed in Chain(files, directory, state.epoch).segments(state)}
    for number in segment_numbers(files, directory):
        if number not in chain:
            log.warning("spool_stray_segment_removed", segment=number)
            files.remove(segment_path(directory, number))
