/* State tables put together, finished and taken apart again; see pool.py for how they are kept, reference.py for what
 * is computed.
 *
 * A table keeps its finite states only: their numbers, ascending, then lane by lane their costs. Costs compare lane
 * by lane. Tables are named by number; addresses[number] and sizes[number] say where one is and how many states it
 * has. Work is done on dense copies [lanes][states] in which an infeasible state has INFINITE in lane 0.
 *
 * Dense copies are laid out with the longest dimension last. The sum of two states then has the sum of their indices,
 * and a whole row of the inner table is added to one state of the outer one in a single run. Only finite outer states
 * and the finite span of each inner row are visited.
 *
 * Row codes hold the coordinates of all other dimensions in bit fields with one guard bit each, so that one addition
 * shows whether any of them leaves the box.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INFINITE (INT64_C(1) << 60)
#define MOST_DIMS 64
#define MOST_DEPTH 256
#define ROW_WORK 4    /* of starting a row, in pairs */
#define JOIN_WORK 500 /* of starting a join, in pairs */
#define TILE 1024     /* states of inner rows worked on together, to stay in the nearest cache */
#define BLOCK 64      /* outer states of one row between two looks at the work left */
#define DONE 0
#define WORK_SPENT 1
#define ROOM_SPENT 2
#define ODD (-1)

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

typedef struct {
  int64_t size;
  const int32_t *states;
  const int64_t *costs; /* [lanes][size] */
} table;

typedef struct {
  int64_t lanes;
  int64_t *addresses, *sizes;
  int64_t next; /* number of the next table written */
  char *room;   /* where it goes */
  int64_t bytes, used;
} pool;

typedef struct {
  int64_t base, low, high; /* first state; finite span within the row */
  uint64_t code;
} row;

typedef struct {
  int dims; /* without those of a single value */
  int64_t size[MOST_DIMS], stride[MOST_DIMS];
  int64_t states, last;
  uint64_t guard, bias;
  int shift[MOST_DIMS];
  int straight; /* the layout is the caller's */
} box;

typedef struct {
  int64_t lanes, states, last, rows, left, extent;
  uint64_t guard;
  const int64_t *outer, *inner;
  const uint64_t *codes; /* of each row of the outer table */
  const row *found;      /* rows of the inner table with a finite state */
  const row **fitting;   /* room for those that fit an outer row */
  int64_t *best;
} job;

typedef struct {
  int64_t *laid[3], *places;
  uint64_t *codes;
  row *found[2];
  const row **fitting;
} desk;

/* Lay out `shape`, with its longest dimension last. 0 when it has too many dimensions for the codes. */
static int lay_out(box *it, int64_t dims, const int64_t *shape, int *source) {
  int longest = -1, bits = 0;
  it->dims = 0;
  for (int64_t d = 0; d < dims; d++)
    if (shape[d] > 1 && (longest < 0 || shape[d] >= shape[longest])) longest = (int)d;
  for (int64_t d = 0; d < dims; d++)
    if (shape[d] > 1 && d != longest) {
      if (it->dims == MOST_DIMS - 1) return 0;
      source[it->dims++] = (int)d;
    }
  if (longest >= 0) source[it->dims++] = longest;
  it->straight = 1;
  for (int d = 1; d < it->dims; d++) it->straight &= source[d - 1] < source[d];
  it->states = 1;
  it->last = longest >= 0 ? shape[longest] : 1;
  it->guard = it->bias = 0;
  for (int d = it->dims - 1; d >= 0; d--) {
    it->size[d] = shape[source[d]];
    it->stride[d] = it->states;
    it->states *= it->size[d];
  }
  for (int d = 0; d < it->dims - 1; d++) {
    int width = 1;
    while ((INT64_C(1) << width) < it->size[d]) width++;
    if (bits + width + 1 > 64) return 0;
    it->shift[d] = bits;
    it->guard |= UINT64_C(1) << (bits + width);
    it->bias |= (uint64_t)((INT64_C(1) << width) - it->size[d]) << bits;
    bits += width + 1;
  }
  return 1;
}

/* places[state of the caller] = state of the layout. */
static void find_places(const box *it, int64_t dims, const int64_t *shape, const int *source, int64_t *places) {
  int64_t stride[MOST_DIMS] = {0}, size[MOST_DIMS], count[MOST_DIMS] = {0}, place = 0;
  int moving = 0;
  for (int64_t d = 0; d < dims; d++)
    for (int at = 0; at < it->dims; at++)
      if (source[at] == d) {
        size[moving] = shape[d];
        stride[moving++] = it->stride[at];
      }
  for (int64_t state = 0; state < it->states; state++) {
    places[state] = place;
    for (int d = moving - 1; d >= 0; d--) {
      place += stride[d];
      if (++count[d] < size[d]) break;
      place -= stride[d] * size[d];
      count[d] = 0;
    }
  }
}

static void find_codes(const box *it, uint64_t *codes) {
  int64_t rows = it->states / it->last, count[MOST_DIMS] = {0};
  for (int64_t at = 0; at < rows; at++) {
    codes[at] = 0;
    for (int d = 0; d < it->dims - 1; d++) codes[at] |= (uint64_t)count[d] << it->shift[d];
    for (int d = it->dims - 2; d >= 0; d--) {
      if (++count[d] < it->size[d]) break;
      count[d] = 0;
    }
  }
}

static int64_t desk_bytes(const box *it, int64_t lanes) {
  int64_t rows = it->states / it->last;
  return (3 * lanes * it->states + it->states + rows) * 8 + 2 * rows * (int64_t)sizeof(row) + rows * 8;
}

/* Divide the scratch memory up, and fill in what depends on the box only. */
static desk set_up(const box *it, int64_t lanes, int64_t dims, const int64_t *shape, const int *source, char *scratch) {
  desk on;
  int64_t cells = lanes * it->states, rows = it->states / it->last;
  for (int t = 0; t < 3; t++) on.laid[t] = (int64_t *)scratch + t * cells;
  on.places = on.laid[2] + cells;
  on.codes = (uint64_t *)(on.places + it->states);
  on.found[0] = (row *)(on.codes + rows);
  on.found[1] = on.found[0] + rows;
  on.fitting = (const row **)(on.found[1] + rows);
  find_places(it, dims, shape, source, on.places);
  find_codes(it, on.codes);
  return on;
}

INLINE table table_of(const pool *all, int64_t number) {
  const int32_t *states = (const int32_t *)(intptr_t)all->addresses[number];
  int64_t size = all->sizes[number];
  return (table){size, states, (const int64_t *)(states + size + (size & 1))};
}

static int has_room(const pool *all, int64_t states) {
  return all->bytes - all->used >= states * (4 + 8 * all->lanes) + 8;
}

/* Keep the finite ones of the caller's states 0 .. limit − 1 of a dense table. */
static void keep(pool *all, const int64_t *dense, int64_t stride, const int64_t *places, int64_t limit) {
  int32_t *states = (int32_t *)(all->room + all->used);
  int64_t size = 0;
  for (int64_t state = 0; state < limit; state++) {
    states[size] = (int32_t)state;
    size += dense[places ? places[state] : state] < INFINITE / 2;
  }
  if (size & 1) states[size] = 0;
  int64_t *costs = (int64_t *)(states + size + (size & 1));
  for (int64_t lane = 0; lane < all->lanes; lane++)
    for (int64_t at = 0; at < size; at++)
      costs[lane * size + at] = dense[lane * stride + (places ? places[states[at]] : states[at])];
  all->addresses[all->next] = (int64_t)(intptr_t)states;
  all->sizes[all->next++] = size;
  all->used += (size + (size & 1)) * 4 + size * all->lanes * 8;
}

static void clear(int64_t *dense, int64_t count) {
  for (int64_t at = 0; at < count; at++) dense[at] = INFINITE;
}

/* Dense copy; states from `extent` on stay as they are. */
static void spread(table from, int64_t lanes, int64_t *dense, int64_t stride, const int64_t *places, int64_t extent) {
  clear(dense, extent);
  for (int64_t lane = 0; lane < lanes; lane++)
    for (int64_t at = 0; at < from.size; at++)
      dense[lane * stride + (places ? places[from.states[at]] : from.states[at])] = from.costs[lane * from.size + at];
}

/* One more than the last of the states a dense copy has to show. */
static int64_t extent_of(const box *it, table of) {
  if (!it->straight) return it->states;
  return of.size ? of.states[of.size - 1] + 1 : 0;
}

/* Rows of lane 0 with a finite state; *span = states in their spans. */
static int64_t find_rows(const box *it, const int64_t *dense, int64_t extent, const uint64_t *codes, row *found,
                         int64_t *span) {
  int64_t count = 0;
  *span = 0;
  for (int64_t at = 0; at * it->last < extent; at++) {
    const int64_t *cells = dense + at * it->last;
    int64_t low = 0, high = extent - at * it->last < it->last ? extent - at * it->last : it->last;
    while (low < high && cells[low] == INFINITE) low++;
    if (low == high) continue;
    while (cells[high - 1] == INFINITE) high--;
    *span += high - low;
    found[count++] = (row){at * it->last, low, high, codes[at] + it->bias};
  }
  return count;
}

INLINE void add_one(int64_t *restrict best, const int64_t *restrict cells, int64_t count, int64_t cost) {
  for (int64_t at = 0; at < count; at++) {
    int64_t sum = cells[at] + cost;
    best[at] = sum < best[at] ? sum : best[at];
  }
}

INLINE void add_two(int64_t *restrict best, int64_t *restrict best_low, const int64_t *restrict cells,
                    const int64_t *restrict cells_low, int64_t count, int64_t cost, int64_t cost_low) {
  for (int64_t at = 0; at < count; at++) {
    int64_t sum = cells[at] + cost, low = cells_low[at] + cost_low, old = best[at], old_low = best_low[at];
    int take = (sum < old) | ((sum == old) & (low < old_low));
    best[at] = take ? sum : old;
    best_low[at] = take ? low : old_low;
  }
}

/* Most rows bring nothing better, which lane 0 alone shows. */
INLINE int any_as_good(const int64_t *restrict best, const int64_t *restrict cells, int64_t count, int64_t cost) {
  int64_t any = 0;
  for (int64_t at = 0; at < count; at++) any |= -(int64_t)(cells[at] + cost <= best[at]);
  return any != 0;
}

static void add_many(int64_t *restrict best, const int64_t *restrict cells, const int64_t *restrict costs,
                     int64_t count, int64_t lanes, int64_t states) {
  for (int64_t at = 0; at < count; at++) {
    int64_t lane = 0;
    while (lane + 1 < lanes && cells[at + lane * states] + costs[lane * states] == best[at + lane * states]) lane++;
    if (cells[at + lane * states] + costs[lane * states] < best[at + lane * states])
      for (lane = 0; lane < lanes; lane++)
        best[at + lane * states] = cells[at + lane * states] + costs[lane * states];
  }
}

/* Rows of the inner table that fit next to outer row `at`. */
static int64_t find_fitting(job *it, int64_t at) {
  int64_t count = 0;
  for (int64_t r = 0; r < it->rows; r++)
    if (!((it->codes[at] + it->found[r].code) & it->guard)) it->fitting[count++] = it->found + r;
  it->left -= it->rows;
  return count;
}

/* Put inner rows one .. end − 1 on the state at place `x` of outer row `at`. */
INLINE void put(job *it, const row **one, const row **end, int64_t at, int64_t x, int64_t lanes) {
  const int64_t states = it->states, room = it->last - x, state = at * it->last + x;
  const int64_t *costs = it->outer + state;
  for (; one < end; one++) {
    const int64_t from = (*one)->base + (*one)->low;
    const int64_t width = ((*one)->high < room ? (*one)->high : room) - (*one)->low;
    if (width <= 0) continue;
    const int64_t *cells = it->inner + from;
    int64_t *best = it->best + from + state;
    it->left -= width + ROW_WORK;
    if (lanes == 1)
      add_one(best, cells, width, costs[0]);
    else if (!any_as_good(best, cells, width, costs[0]))
      continue;
    else if (lanes == 2)
      add_two(best, best + states, cells, cells + states, width, costs[0], costs[states]);
    else
      add_many(best, cells, costs, width, it->lanes, states);
  }
}

/* Outer states from `begin` until the job's work is spent; the state to go on from, or −1. */
INLINE int64_t run(job *it, int64_t begin, int64_t lanes) {
  const int64_t tile_rows = it->last < TILE ? TILE / it->last : 1;
  int64_t xs[BLOCK], state = begin;
  while (state < it->extent) {
    if (it->left <= 0) return state;
    int64_t at = state / it->last, next = (at + 1) * it->last, count = 0;
    if (next > it->extent) next = it->extent;
    for (; state < next && count < BLOCK; state++)
      if (it->outer[state] < INFINITE) xs[count++] = state - at * it->last;
    if (!count) continue;
    const row **end = it->fitting + find_fitting(it, at);
    for (const row **tile = it->fitting; tile < end; tile += tile_rows)
      for (int64_t i = 0; i < count; i++)
        put(it, tile, end - tile < tile_rows ? end : tile + tile_rows, at, xs[i], lanes);
  }
  return -1;
}

INLINE int64_t run_lanes(job *it, int64_t begin) {
  if (it->lanes == 1) return run(it, begin, 1);
  if (it->lanes == 2) return run(it, begin, 2);
  return run(it, begin, 0);
}

static int64_t run_plain(job *it, int64_t begin) { return run_lanes(it, begin); }

#if defined(__GNUC__) && defined(__x86_64__)
__attribute__((target("avx2"))) static int64_t run_avx2(job *it, int64_t begin) { return run_lanes(it, begin); }

static int64_t run_best(job *it, int64_t begin) {
  return __builtin_cpu_supports("avx2") ? run_avx2(it, begin) : run_plain(it, begin);
}
#else
static int64_t run_best(job *it, int64_t begin) { return run_plain(it, begin); }
#endif

/* Put two tables together from outer state *begin on; 0 when the work is spent before the end, with *begin moved. */
static int join(pool *all, const box *it, const desk *on, table left, table right, int64_t *begin, int64_t *work) {
  const table both[2] = {left, right};
  const int64_t *places = it->straight ? NULL : on->places;
  int64_t spans[2], counts[2], extents[2];
  for (int t = 0; t < 2; t++) {
    extents[t] = extent_of(it, both[t]);
    spread(both[t], all->lanes, on->laid[t], it->states, places, extents[t]);
    counts[t] = find_rows(it, on->laid[t], extents[t], on->codes, on->found[t], &spans[t]);
  }
  int64_t limit = it->straight ? extents[0] + extents[1] - 1 : it->states;
  if (!left.size || !right.size) limit = 0;
  if (limit > it->states) limit = it->states;
  if (!*begin) clear(on->laid[2], limit);
  int first = left.size * (counts[1] * ROW_WORK + spans[1]) <= right.size * (counts[0] * ROW_WORK + spans[0]);
  int outer = first ? 0 : 1;
  job one = {all->lanes, it->states, it->last, counts[1 - outer], *work, extents[outer], it->guard,
             on->laid[outer], on->laid[1 - outer], on->codes, on->found[1 - outer], on->fitting, on->laid[2]};
  if (!limit) one.extent = 0;
  *begin = run_best(&one, *begin);
  *work = one.left - JOIN_WORK;
  if (*begin >= 0) return 0;
  keep(all, on->laid[2], it->states, places, limit);
  *begin = 0;
  return 1;
}

/* Bytes of scratch memory the other procedures need for tables over the box `shape`; −1 for a shape too odd. */
int64_t huddle_scratch(int64_t lanes, int64_t dims, const int64_t *shape) {
  box it;
  int source[MOST_DIMS];
  return lanes < 1 || !lay_out(&it, dims, shape, source) ? ODD : desk_bytes(&it, lanes);
}

/* Tables left[i] ⊕ right[i] over the box `shape`, in order, which become tables next, next + 1, …
 *
 * progress = {joins done, outer state to go on from, bytes of the room used}; all zero at the start. Returns DONE,
 * WORK_SPENT after about `work` pairs of states, or ROOM_SPENT when a join may need more than the rest of the room:
 * call again with the same progress and scratch, after ROOM_SPENT with new room and progress[2] = 0.
 */
int64_t huddle_join(int64_t lanes, int64_t dims, const int64_t *shape, int64_t *addresses, int64_t *sizes, int64_t next,
                    int64_t count, const int64_t *left, const int64_t *right, char *room, int64_t bytes, char *scratch,
                    int64_t work, int64_t *progress) {
  box it;
  int source[MOST_DIMS];
  if (!lay_out(&it, dims, shape, source)) return ODD;
  desk on = set_up(&it, lanes, dims, shape, source, scratch);
  pool all = {lanes, addresses, sizes, next + progress[0], room, bytes, progress[2]};
  for (; progress[0] < count; progress[0]++) {
    if (work <= 0) return WORK_SPENT;
    if (!has_room(&all, it.states)) return ROOM_SPENT;
    table one = table_of(&all, left[progress[0]]), other = table_of(&all, right[progress[0]]);
    if (!join(&all, &it, &on, one, other, &progress[1], &work)) return WORK_SPENT;
    progress[2] = all.used;
  }
  return DONE;
}

/* Finished tables of domains, which become tables next, next + 1, …
 *
 * State s of a finished table costs what state index[s] of the table sources[i], over `below` states, costs, plus
 * owns[i][lane][s], plus weights[lane] · holes[i] unless s = 0. progress as above, its second number unused.
 */
int64_t huddle_finish(int64_t lanes, int64_t below, int64_t states, const int64_t *index, int64_t *addresses,
                      int64_t *sizes, int64_t next, int64_t count, const int64_t *sources, const int64_t **owns,
                      const int64_t *holes, const int64_t *weights, char *room, int64_t bytes, int64_t *scratch,
                      int64_t *progress) {
  pool all = {lanes, addresses, sizes, next + progress[0], room, bytes, progress[2]};
  int64_t *dense = scratch, *made = scratch + lanes * below;
  for (; progress[0] < count; progress[0]++) {
    if (!has_room(&all, states)) return ROOM_SPENT;
    const int64_t *own = owns[progress[0]], hole = holes[progress[0]];
    spread(table_of(&all, sources[progress[0]]), lanes, dense, below, NULL, below);
    for (int64_t state = 0; state < states; state++) {
      made[state] = INFINITE;
      if (dense[index[state]] == INFINITE || own[state] == INFINITE) continue;
      for (int64_t lane = 0; lane < lanes; lane++) {
        int64_t fixed = state ? weights[lane] * hole : 0;
        made[lane * states + state] = dense[lane * below + index[state]] + own[lane * states + state] + fixed;
      }
    }
    keep(&all, made, states, NULL, states);
    progress[2] = all.used;
  }
  return DONE;
}

/* Position of a state in a table, or that of the next smaller one (−1: none). */
static int64_t find(table in, int64_t state) {
  int64_t low = -1, high = in.size;
  while (high - low > 1) {
    int64_t middle = (low + high) / 2;
    if (in.states[middle] <= state)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* Whether the state at `one` of `left` and another of `right`, stored in *other, add up to that at `sum` of `whole`. */
static int adds_up(int64_t lanes, table whole, int64_t sum, table left, int64_t one, table right, int64_t *other) {
  *other = find(right, whole.states[sum] - left.states[one]);
  if (*other < 0 || right.states[*other] != whole.states[sum] - left.states[one]) return 0;
  for (int64_t lane = 0; lane < lanes; lane++)
    if (left.costs[lane * left.size + one] + right.costs[lane * right.size + *other] !=
        whole.costs[lane * whole.size + sum])
      return 0;
  return 1;
}

/* Whether no coordinate of state `part` is above that of state `whole`. */
static int inside(const int64_t *shape, int64_t dims, int64_t part, int64_t whole) {
  for (int64_t d = dims - 1; d >= 0; d--) {
    if (part % shape[d] > whole % shape[d]) return 0;
    part /= shape[d];
    whole /= shape[d];
  }
  return 1;
}

/* Which tables, not themselves joined, a joined table's best cost comes from; the largest left half first.
 *
 * lefts, rights: by number, the halves of a table, −1 for one that was not joined. For each state states[i] of table
 * tops[i]: every part with a state above 0 as {i, number, state}, up to `most` of them. Returns how many, or −1.
 */
int64_t huddle_trace(int64_t lanes, int64_t dims, const int64_t *shape, int64_t *addresses, int64_t *sizes,
                     const int64_t *lefts, const int64_t *rights, int64_t count, const int64_t *tops,
                     const int64_t *states, int64_t most, int64_t *found) {
  pool all = {lanes, addresses, sizes, 0, NULL, 0, 0};
  int64_t open[MOST_DEPTH][2], total = 0;
  for (int64_t at = 0; at < count; at++) {
    int depth = 0;
    open[depth][0] = tops[at], open[depth++][1] = states[at];
    while (depth) {
      const int64_t number = open[--depth][0], state = open[depth][1];
      if (!state) continue;
      if (lefts[number] < 0) {
        if (total == most) return ODD;
        found[3 * total] = at, found[3 * total + 1] = number, found[3 * total++ + 2] = state;
        continue;
      }
      const table whole = table_of(&all, number), left = table_of(&all, lefts[number]),
                  right = table_of(&all, rights[number]);
      const int64_t sum = find(whole, state);
      int64_t one = find(left, state), other = -1;
      while (one >= 0 && !(inside(shape, dims, left.states[one], state) &&
                           adds_up(lanes, whole, sum, left, one, right, &other)))
        one--;
      if (one < 0 || depth + 2 > MOST_DEPTH) return ODD;
      open[depth][0] = rights[number], open[depth++][1] = right.states[other];
      open[depth][0] = lefts[number], open[depth++][1] = left.states[one];
    }
  }
  return total;
}
