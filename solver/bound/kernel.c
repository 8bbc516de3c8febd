/* Min-plus convolution of two state tables over a box of counts; see convolve.py for the reference.
 *
 * Tables are [lanes][states], C order, costs compared lane by lane. A state whose lane 0 is INFINITE is infeasible.
 * States are laid out with the longest dimension last. The sum of two states then has the sum of their indices, and
 * a whole row of the inner table is added to one state of the outer one in a single run. Only finite outer states
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
#define ROW_WORK 4 /* of starting a row, in pairs */
#define TILE 1024  /* states of inner rows worked on together, to stay in the nearest cache */
#define BLOCK 64   /* outer states of one row between two looks at the work left */
#define DONE (-1)
#define NO_ROOM (-2)

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

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
} box;

typedef struct {
  int64_t lanes, states, last, rows, left;
  uint64_t guard;
  const int64_t *outer, *inner;
  const uint64_t *codes; /* of each row of the outer table */
  const row *found;      /* rows of the inner table with a finite state */
  const row **fitting;   /* room for those that fit an outer row */
  int64_t *best;
} job;

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

/* Rows of lane 0 with a finite state; *span = states in their spans, *finite = finite ones. */
static int64_t find_rows(const box *it, const int64_t *table, const uint64_t *codes, row *found, int64_t *span,
                         int64_t *finite) {
  int64_t rows = it->states / it->last, count = 0;
  *span = *finite = 0;
  for (int64_t at = 0; at < rows; at++) {
    const int64_t *cells = table + at * it->last;
    int64_t low = -1, high = 0;
    for (int64_t x = 0; x < it->last; x++)
      if (cells[x] < INFINITE) {
        if (low < 0) low = x;
        high = x + 1;
        ++*finite;
      }
    if (low < 0) continue;
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
    if (lanes == 1)
      add_one(best, cells, width, costs[0]);
    else if (lanes == 2)
      add_two(best, best + states, cells, cells + states, width, costs[0], costs[states]);
    else
      add_many(best, cells, costs, width, it->lanes, states);
    it->left -= width + ROW_WORK;
  }
}

/* Outer states from `begin` until the job's work is spent; the state to go on from, or DONE. */
INLINE int64_t run(job *it, int64_t begin, int64_t lanes) {
  const int64_t tile_rows = it->last < TILE ? TILE / it->last : 1;
  int64_t xs[BLOCK], state = begin;
  while (state < it->states) {
    if (it->left <= 0) return state;
    int64_t at = state / it->last, next = (at + 1) * it->last, count = 0;
    for (; state < next && count < BLOCK; state++)
      if (it->outer[state] < INFINITE) xs[count++] = state - at * it->last;
    if (!count) continue;
    const row **end = it->fitting + find_fitting(it, at);
    for (const row **tile = it->fitting; tile < end; tile += tile_rows)
      for (int64_t i = 0; i < count; i++)
        put(it, tile, end - tile < tile_rows ? end : tile + tile_rows, at, xs[i], lanes);
  }
  return DONE;
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

static void move_in(const int64_t *places, int64_t lanes, int64_t states, const int64_t *table, int64_t *laid) {
  for (int64_t lane = 0; lane < lanes; lane++)
    for (int64_t state = 0; state < states; state++) laid[lane * states + places[state]] = table[lane * states + state];
}

/* Infeasible states in their one form. */
static void settle(int64_t *table, int64_t lanes, int64_t states) {
  for (int64_t state = 0; state < states; state++)
    if (table[state] >= INFINITE / 2) {
      table[state] = INFINITE;
      for (int64_t lane = 1; lane < lanes; lane++) table[lane * states + state] = 0;
    }
}

/* best = left ⊕ right over the box `shape`, from outer state `begin` on, for about `work` pairs of states.
 *
 * Start with begin = 0; call again with the number returned, until that is −1. −2: no memory, or a shape too odd.
 */
int64_t huddle_convolve(int64_t lanes, int64_t dims, const int64_t *shape, const int64_t *left, const int64_t *right,
                        int64_t *best, int64_t begin, int64_t work) {
  box it;
  int source[MOST_DIMS];
  if (lanes < 1 || !lay_out(&it, dims, shape, source)) return NO_ROOM;
  const int64_t states = it.states, rows = states / it.last, cells = lanes * states;
  char *room = malloc((size_t)(3 * cells + states + rows) * 8 + (size_t)(2 * rows) * sizeof(row) + (size_t)rows * 8);
  if (!room) return NO_ROOM;
  int64_t *laid[3], *places, spans[2], finite[2], counts[2];
  for (int t = 0; t < 3; t++) laid[t] = (int64_t *)room + t * cells;
  places = laid[2] + cells;
  uint64_t *codes = (uint64_t *)(places + states);
  row *found[2] = {(row *)(codes + rows), (row *)(codes + rows) + rows};
  const int64_t *given[2] = {left, right};

  find_places(&it, dims, shape, source, places);
  find_codes(&it, codes);
  for (int t = 0; t < 2; t++) {
    move_in(places, lanes, states, given[t], laid[t]);
    counts[t] = find_rows(&it, laid[t], codes, found[t], &spans[t], &finite[t]);
  }
  if (begin)
    move_in(places, lanes, states, best, laid[2]);
  else {
    memset(laid[2], 0, (size_t)cells * 8);
    for (int64_t state = 0; state < states; state++) laid[2][state] = INFINITE;
  }
  int outer = finite[0] * (counts[1] * ROW_WORK + spans[1]) <= finite[1] * (counts[0] * ROW_WORK + spans[0]) ? 0 : 1;
  job one = {lanes, states, it.last, counts[1 - outer], work, it.guard, laid[outer], laid[1 - outer],
             codes, found[1 - outer], (const row **)(found[1] + rows), laid[2]};
  int64_t next = run_best(&one, begin);
  if (next == DONE) settle(laid[2], lanes, states);
  for (int64_t lane = 0; lane < lanes; lane++)
    for (int64_t state = 0; state < states; state++)
      best[lane * states + state] = laid[2][lane * states + places[state]];
  free(room);
  return next;
}
