# shellcheck shell=bash
# Sourced inside the virtual machine: emulated nodes 0 to N-1. Node I has
#   rxe_I     its RDMA device, on the network device rail_I, address 10.9.0.(I+1); rail_I's other end, port_I, is a port
#             of the bridge `fabric`. Setting port_I down is pulling the cable.
#   node_I    its network namespace for TCP, with eth0 (10.8.0.(I+1)), joined by the bridge `control`.
# The devices stay in the first namespace: Linux 6.1's soft-RoCE works only there. Processes of all namespaces can use
# them. As one machine would hand packets between its own addresses to itself, each rail routes by a table of its own,
# and neighbours are told, not asked for.

# Soft-RoCE works in software interrupts; when they are deferred to a thread, ranks that spin must not delay it.
promote_softirqs() {
  local process name
  for process in /proc/[0-9]*; do
    read -r name <"$process/comm" 2>/dev/null || continue
    case $name in ksoftirqd*) chrt --fifo --pid 50 "${process#/proc/}" ;; esac
  done
}

make_links() {
  local i
  echo "link set lo up"
  for i in fabric control; do echo "link add $i type bridge"; echo "link set $i up"; done
  for ((i = 0; i < $1; ++i)); do
    # Room for a path MTU of 4096 and its headers.
    echo "link add rail_$i mtu 4500 type veth peer name port_$i mtu 4500"
    echo "link set port_$i master fabric up"
    echo "addr add 10.9.0.$((i + 1))/24 dev rail_$i"
    echo "link set rail_$i up"
    echo "link add uplink_$i type veth peer name eth0 netns node_$i"
    echo "link set uplink_$i master control up"
  done
}

make_routes() {
  local i j
  for ((i = 0; i < $1; ++i)); do
    echo "rule add pref $((10 + i)) iif rail_$i lookup local"
    echo "rule add pref $((20 + i)) oif rail_$i lookup $((100 + i))"
    echo "route add 10.9.0.0/24 dev rail_$i src 10.9.0.$((i + 1)) table $((100 + i))"
    # Its own address is not on the wire: the next rule knows it.
    echo "route add throw 10.9.0.$((i + 1))/32 table $((100 + i))"
    for ((j = 0; j < $1; ++j)); do
      [ $i -eq $j ] && continue
      echo "neigh replace 10.9.0.$((j + 1)) dev rail_$i lladdr $(cat /sys/class/net/rail_$j/address) nud permanent"
    done
  done
  echo "rule add pref 500 lookup local"
  echo "rule del pref 0"
}

make_nodes() {
  local i what
  promote_softirqs
  for ((i = 0; i < $1; ++i)); do ip netns add node_$i || return; done
  make_links "$1" | ip -batch - || return
  for what in all default $(seq -f 'rail_%g' 0 $(($1 - 1))); do
    echo 1 >/proc/sys/net/ipv4/conf/$what/accept_local
    echo 0 >/proc/sys/net/ipv4/conf/$what/rp_filter
  done
  make_routes "$1" | ip -batch - || return
  for ((i = 0; i < $1; ++i)); do
    printf '%s\n' "link set lo up" "addr add 10.8.0.$((i + 1))/24 dev eth0" "link set eth0 up" |
      ip -netns node_$i -batch - || return
    rdma link add rxe_$i type rxe netdev rail_$i || return
  done
  # The GID of the IPv4 address comes a little later.
  for ((i = 0; i < $1; ++i)); do
    until cat /sys/class/infiniband/rxe_$i/ports/1/gid_attrs/ndevs/1 >/dev/null 2>&1; do sleep 0.05; done
  done
  echo "guest: $1 nodes after $(cut -d' ' -f1 /proc/uptime) s"
}
