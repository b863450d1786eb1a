"""What stands between the ranks and the rendezvous: set-up messages pass here, and may be late, in pieces, or overtake each other.

Messages of one connection keep their order, as TCP's do. Those of different ranks need not."""
import collections
import selectors
import socket
import struct
import threading
import time

_STEP_S = 0.005


class _Way:
    """One direction of a connection: what was read, and when it may go on."""

    def __init__(self, source, target, hold_s):
        self.source, self.target, self.hold_s = source, target, hold_s
        self.queue = collections.deque()  # (due, bytes); empty bytes: the end
        self.reading = True
        self.passed = 0


class Relay:
    """A thread that accepts at `port` and connects to the rendezvous. Its public attributes are its rules: set them before start.

    delay_s, hold_s      each piece waits this long; all of a connection besides, as long as drawn for it from 0 to hold_s
    piece_bytes          what comes is cut into pieces of so many bytes; 0: as it came
    reset_at, stall_at   (connection, bytes): the connection that was accepted as that one is reset, or carries no more, once so many
                         bytes have passed towards the rendezvous"""

    def __init__(self, target, random):
        self.delay_s = self.hold_s = 0.0
        self.piece_bytes = 0
        self.reset_at = self.stall_at = None
        self.struck = set()  # which of the two have happened
        self._target = target
        self._random = random
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._accepted = []  # (client, when to try the rendezvous next)
        self._pairs = []  # of ways
        self._num_connections = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._stopping = True
        if self._thread.ident:
            self._thread.join()
        for client, _ in self._accepted:
            client.close()
        for pair in self._pairs:
            self._close(pair)
        self._listener.close()

    def _run(self):
        while not self._stopping:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                for pair in self._pairs:
                    for way in pair:
                        if way.reading:
                            selector.register(way.source, selectors.EVENT_READ, (pair, way))
                for key, _ in selector.select(_STEP_S):
                    if key.data is None:
                        self._accept()
                    else:
                        self._read(*key.data)
            self._connect()
            for pair in list(self._pairs):
                self._pass_on(pair)

    def _accept(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self._accepted.append((client, 0.0))

    def _connect(self):
        """The rendezvous may not be there yet: its clients are kept until it is."""
        later = []
        for client, due in self._accepted:
            if time.monotonic() < due:
                later.append((client, due))
                continue
            try:
                server = socket.create_connection(self._target, timeout=1)
            except OSError:
                later.append((client, time.monotonic() + _STEP_S))
                continue
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways = tuple(_Way(*ends, self.hold_s * self._random.random()) for ends in ((client, server), (server, client)))
            ways[0].number = self._num_connections
            self._num_connections += 1
            self._pairs.append(ways)
        self._accepted = later

    def _read(self, pair, way):
        if pair not in self._pairs:
            return
        try:
            data = way.source.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self._break(pair)
            return
        if not data:
            way.reading = False
        size = self.piece_bytes or max(1, len(data))
        due = time.monotonic() + self.delay_s + way.hold_s
        for piece in [data[i:i + size] for i in range(0, len(data), size)] or [b""]:
            way.queue.append((due, piece))
            if self.piece_bytes:
                due += 0.001 * self._random.random()

    def _pass_on(self, pair):
        for way in pair:
            while way.queue and way.queue[0][0] <= time.monotonic():
                if self._strikes(pair, way):
                    break
                _, piece = way.queue.popleft()
                try:
                    if not piece:
                        way.target.shutdown(socket.SHUT_WR)
                    else:
                        sent = way.target.send(piece)
                        way.passed += sent
                        if sent < len(piece):
                            way.queue.appendleft((0.0, piece[sent:]))
                            break
                except BlockingIOError:
                    way.queue.appendleft((0.0, piece))
                    break
                except OSError:
                    self._break(pair)
                    return
            if pair not in self._pairs:
                return
        if not any(way.reading or way.queue for way in pair):
            self._pairs.remove(pair)
            self._close(pair)

    def _strikes(self, pair, way):
        """True: nothing more goes on this way."""
        for rule in ("reset_at", "stall_at"):
            at = getattr(self, rule)
            if at is None or way is not pair[0] or way.number != at[0] or way.passed < at[1]:
                continue
            self.struck.add(rule)
            if rule == "reset_at":
                self.reset_at = None
                self._break(pair)
            return True
        return False

    def _break(self, pair):
        """A connection that broke on one side breaks on the other, too: with a reset."""
        if pair not in self._pairs:
            return
        self._pairs.remove(pair)
        for way in pair:
            try:
                way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
        self._close(pair)

    @staticmethod
    def _close(pair):
        for way in pair:
            way.source.close()
