/* The slot protocol of one lane: what the owners of a few nodes do with their slots, chunk after chunk, over
 * connections that break. docs/schedules.md says what is checked here and why it is safe.
 *
 * train_main.cc prints the rest of the model from src/sched's own schedules: NODES, LANDINGS, and a process for each
 * node that is written in the steps below. Landings are numbered as in src/engine/lane.hpp: 0 is the result slot.
 *
 * The protocol's rules are not written into the model, so that it can find them broken. It knows what must come out:
 * every node copies out the sum of all nodes' inputs, each once, of the right chunk; and every run comes to its end.
 *
 * BREAKS is how often a connection may break. Ways to spoil the protocol, each of which must be found out:
 *   NO_LATCH      an arrival for a chunk that the receiver has not begun is forgotten
 *   NO_ACK        a put counts as done when it is posted
 *   BLIND         after a break a put is written again though its sequence was reported; the receiver drops the second
 *                 report
 *   BLIND_UP      the same, for puts to child slots only
 *   NO_FENCE      what a broken connection still carries may land later
 * ONE_WRITER asks in addition that no landing is written by two nodes.
 */

/* A value: the nodes whose inputs it holds, whether it is final, and the chunk. */
#define MASK 15
#define FINAL 16
#define BAD 255
#define VALUE(mask, chunk) ((mask) | ((chunk) << 5))
#define EVERYBODY ((1 << NODES) - 1)
#define AT(node, landing) ((node) * LANDINGS + (landing))
#define PAIR(from, to) ((from) * NODES + (to))

byte memory[NODES * LANDINGS] = BAD; /* what the slots hold */
byte arrived[NODES * LANDINGS];      /* chunk + 1 of the latest arrival that the engine was told of */
byte copy_out[NODES];                /* chunk + 1 that local ranks have yet to copy; 0: none */
byte pending[NODES];                 /* puts of the node that are not done */
byte breaks;                         /* connections that broke so far */
#ifdef NO_LATCH
byte begun[NODES];                   /* chunk + 1 that the node is at */
#define BEGIN(chunk) begun[me] = (chunk) + 1
#else
#define BEGIN(chunk) skip
#endif
#ifdef ONE_WRITER
byte writer[NODES * LANDINGS];       /* node + 1 that writes there */
#endif

/* A put on its way. A lane has at most one under way from a node to another. */
mtype = { none, posted, read, landed, reported };
mtype put_state[NODES * NODES] = none;
byte put_landing[NODES * NODES];
byte put_chunk[NODES * NODES];

/* --- what a node does; `me` is its number */

#define HAS(landing, chunk) (arrived[AT(me, landing)] > (chunk))
#define INPUTS_WAIT (copy_out[me] == 0)  /* local inputs replace a sum that was copied out */
#define PUTS_LEFT (pending[me] == 0)     /* other adds replace what the chunk's puts send */

inline start_sum(value) { sum = value }
inline add_to_sum(value) {
  if
  :: sum == BAD || value == BAD || (sum & value & MASK) || ((sum ^ value) & ~MASK) -> sum = BAD
  :: else -> sum = sum | (value & MASK)
  fi
}
inline end_sum(final) { memory[AT(me, 0)] = (sum == BAD -> BAD : sum | (final)); sum = 0 }

inline put(to, landing, chunk) {
  atomic {
    assert(put_state[PAIR(me, to)] == none);
#ifdef ONE_WRITER
    assert(writer[AT(to, landing)] == 0 || writer[AT(to, landing)] == me + 1);
    writer[AT(to, landing)] = me + 1;
#endif
    put_landing[PAIR(me, to)] = landing;
    put_chunk[PAIR(me, to)] = chunk;
    put_state[PAIR(me, to)] = posted;
#ifndef NO_ACK
    pending[me]++
#endif
  }
}
inline publish(chunk) { copy_out[me] = (chunk) + 1 }

/* --- what local ranks do */

proctype local_ranks(byte me) {
end_copied:
  do
  :: d_step {
       copy_out[me] != 0 ->
       assert(memory[AT(me, 0)] == (VALUE(EVERYBODY, copy_out[me] - 1) | FINAL));
       copy_out[me] = 0
     }
  od
}

/* --- what the connection from one node to another does with a put */

inline done() {
  put_state[at] = none;
  put_landing[at] = 0;
  put_chunk[at] = 0;
#ifndef NO_ACK
  pending[from]--
#endif
}

proctype connection(byte from; byte to) {
  byte at = PAIR(from, to);
  byte carried;      /* the bytes that left */
  bit is_repeat;     /* the receiver has reported this put before */
#ifdef NO_FENCE
  byte stray;        /* landing + 1 that a broken connection's bytes are on their way to */
  byte stray_bytes;
#endif
end_idle:
  do
  :: d_step { put_state[at] == posted -> carried = memory[AT(from, 0)]; put_state[at] = read }
  :: d_step { put_state[at] == read ->
       memory[AT(to, put_landing[at])] = carried;
       carried = 0;
       put_state[at] = landed }
  :: d_step { put_state[at] == landed ->
       if
       :: is_repeat -> skip
#ifdef NO_LATCH
       :: put_chunk[at] >= begun[to] -> skip
#endif
       :: else -> arrived[AT(to, put_landing[at])] = put_chunk[at] + 1
       fi;
       is_repeat = 0;
       put_state[at] = reported }
  :: d_step { put_state[at] == reported -> done() }
  /* It breaks. Nothing of it lands any more; the receiver says what it has reported, and the rest is put again. */
  :: d_step { put_state[at] != none && breaks < BREAKS ->
       breaks++;
#ifdef NO_FENCE
       if
       :: put_state[at] == read -> stray = put_landing[at] + 1; stray_bytes = carried
       :: else -> skip
       fi;
#endif
       carried = 0;
       if
#if defined(BLIND)
       :: put_state[at] == reported -> is_repeat = 1; put_state[at] = posted
#elif defined(BLIND_UP)
       :: put_state[at] == reported && put_landing[at] != 0 -> is_repeat = 1; put_state[at] = posted
       :: put_state[at] == reported && put_landing[at] == 0 -> done()
#else
       :: put_state[at] == reported -> done()
#endif
       :: else -> put_state[at] = posted
       fi }
#ifdef NO_FENCE
  :: d_step { stray != 0 -> memory[AT(to, stray - 1)] = stray_bytes; stray = 0; stray_bytes = 0 }
#endif
  od
}
