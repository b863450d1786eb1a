"""The network between nodes that are network namespaces: every packet passes here, and may be lost, late, early or double."""
import heapq
import os
import select
import socket
import struct
import threading
import time

_TCP, _RST_ACK = 6, 0x14


def _checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _reset_packet(source, target, ports, sequence, acknowledged):
    tcp = struct.pack("!4sIIBBHHH", ports, sequence, acknowledged, 5 << 4, _RST_ACK, 0, 0, 0)
    check = _checksum(source + target + struct.pack("!BBH", 0, _TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, _TCP, 0, source, target)
    return ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:] + tcp


class Switch:
    """A thread that carries packets between nodes' TUN devices. Its public attributes are its rules, which may be set while
    it runs: probabilities, seconds, nodes that are cut off."""

    def __init__(self, nodes, random):
        self.loss = self.duplicates = self.delay_s = self.jitter_s = 0.0
        self.cut = frozenset()
        self.resets = 0  # connections still to be reset, as their next packet passes
        self.carried = self.lost = 0
        self._nodes = nodes
        self._random = random
        self._at = {socket.inet_aton(node.address): idx for idx, node in enumerate(nodes)}
        self._waiting = []  # (due, number, node, packet)
        self._number = 0
        self._wake, self._wake_end = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        os.write(self._wake_end, b"x")
        if self._thread.ident:
            self._thread.join()
        for fd in (self._wake, self._wake_end):
            os.close(fd)

    def _run(self):
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        for node in self._nodes:
            poller.register(node.tun, select.POLLIN)
        came_from = {node.tun: idx for idx, node in enumerate(self._nodes)}
        while True:
            wait_ms = None
            if self._waiting:
                wait_ms = max(0.0, (self._waiting[0][0] - time.monotonic()) * 1000)
            for fd, _ in poller.poll(wait_ms):
                if fd == self._wake:
                    return
                self._read(fd, came_from[fd])
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, node, packet = heapq.heappop(self._waiting)
                self._hand_over(node, packet)

    def _read(self, fd, source):
        for _ in range(64):
            try:
                packet = os.read(fd, 65536)
            except OSError:
                return
            self._carry(source, packet)

    def _carry(self, source, packet):
        target = self._at.get(packet[16:20]) if packet[0] >> 4 == 4 else None
        if target is None:
            return  # neighbour discovery and the like
        self.carried += 1
        random = self._random.random
        if source in self.cut or target in self.cut or random() < self.loss:
            self.lost += 1
            return
        if self.resets > 0 and self._reset(source, target, packet):
            self.resets -= 1
            return
        for _ in range(2 if random() < self.duplicates else 1):
            delay = self.delay_s + self.jitter_s * random()
            if delay > 0:
                self._number += 1
                heapq.heappush(self._waiting, (time.monotonic() + delay, self._number, target, packet))
            else:
                self._hand_over(target, packet)

    def _reset(self, source, target, packet):
        """In the packet's place both ends get a reset, with the numbers that they expect."""
        start = (packet[0] & 15) * 4
        if packet[9] != _TCP or packet[start + 13] & 0x17 != 0x10:
            return False  # only of connections that stand
        sequence, acknowledged = struct.unpack_from("!II", packet, start + 4)
        ports = packet[start:start + 4]
        self._hand_over(target, _reset_packet(packet[12:16], packet[16:20], ports, sequence, acknowledged))
        self._hand_over(source, _reset_packet(packet[16:20], packet[12:16], ports[2:] + ports[:2], acknowledged, sequence))
        return True

    def _hand_over(self, node, packet):
        try:
            os.write(self._nodes[node].tun, packet)
        except OSError:
            self.lost += 1  # its queue is full, or the node is gone
