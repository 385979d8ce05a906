// The nucleus of one frame, by one block: attention = softmax(scores); the block keeps the shortest
// head, in descending order of attention and then ascending order of sites, whose mass reaches p.
//
// The bits of a number >= 0 ascend with the number, so the cut is searched among 32-bit integers:
// their range is parted into bins, whose masses tell in which bin the cut lies, until few weights
// are left, which are compared each with each. Masses are integers in units of 2^-62: their sums
// are exact in any order, finer than the reference's sums in double, and the same in every run.
#pragma once

#include <type_traits>

#include "block.cuh"

namespace mesm_ops {

// The weights above `least` and the first `ties` weights equal to `least` are kept.
struct Cut {
  uint32_t least;
  uint32_t ties;
};

constexpr uint32_t kInfinityKey = 0xff800000u;
constexpr uint32_t kNanKey = ~0u;

// Ascends with the value; NaN comes last.
MESM_BLOCK uint32_t order_key(float value) {
  if (value != value) return kNanKey;
  const uint32_t bits = bits_of(value);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

MESM_BLOCK float value_of_key(uint32_t key) {
  return float_of(key >> 31 ? key & 0x7fffffffu : ~key);
}

// e^x for x <= 0 to a relative 2^-34, which is 0.002 ulp of float; e^-150 for all x below -150.
// x = n ln2 + r: a minimax polynomial in r, n added to the exponent, as on the CPU.
MESM_BLOCK double exp_below(double x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it leaves the nearest integer
  x = x > -150.0 ? x : -150.0;
  const double shifted = x * 1.44269504088896341 + kRound;
  const double r = x - (shifted - kRound) * 0.693147180559945309;
  double p = r * 0.00019790334869280914 + 0.0013944659668097834;
  p = p * r + 0.008333497076683696;
  p = p * r + 0.04166629494365569;
  p = p * r + 0.16666665869007377;
  p = p * r + 0.5000000067685181;
  p = p * (r * r) + r + 1.0;
  uint64_t power, result;
  memcpy(&power, &shifted, sizeof(power));
  memcpy(&result, &p, sizeof(result));
  result += power << 52;
  memcpy(&p, &result, sizeof(p));
  return p;
}

// Calls f(i, e^(scores[i] - largest)), spread as by `for_each`; a thread has two under way.
template <class F>
MESM_BLOCK void for_each_exp(const float* scores, int32_t count, double largest, const F& f) {
  constexpr int kAtATime = 2;
  MESM_ROLLED
  for (int64_t begin = thread(); begin < count; begin += kAtATime * int64_t{threads()}) {
    double exps[kAtATime];
    MESM_UNROLL
    for (int k = 0; k < kAtATime; ++k) {
      const int64_t i = begin + k * int64_t{threads()};
      exps[k] = exp_below(scores[i < count ? i : begin] - largest);
    }
    MESM_UNROLL
    for (int k = 0; k < kAtATime; ++k) {
      const int64_t i = begin + k * int64_t{threads()};
      if (i < count) f(i, exps[k]);
    }
  }
}

// weights = softmax(scores), in double and rounded once; false if all weights are NaN. weights may
// be scores, and is complete after the next `sync`.
MESM_BLOCK bool softmax(const float* scores, int32_t count, float* weights, Exchange& exchange) {
  uint32_t most = 0;
  for_each(count, [&](int64_t i) {
    const uint32_t key = order_key(scores[i]);
    most = key > most ? key : most;
  });
  most = block_max(most, exchange);
  if (most >= kInfinityKey || most <= ~kInfinityKey) {  // NaN, or infinite: 0 / 0 for the others
    for_each(count, [&](int64_t i) { weights[i] = float_of(0x7fc00000u); });
    return false;
  }
  const double largest = value_of_key(most);
  double sum = 0;
  for_each_exp(scores, count, largest, [&](int64_t, double exp) { sum += exp; });
  const double share = 1 / block_sum(sum, exchange);
  for_each_exp(scores, count, largest,
               [&](int64_t i, double exp) { weights[i] = static_cast<float>(exp * share); });
  return true;
}

// A weight in units of 2^-62.
MESM_BLOCK uint64_t mass_of(uint32_t weight_bits) {
  return static_cast<uint64_t>(static_cast<int64_t>(float_of(weight_bits) * 0x1p62f));
}

// The least mass that is >= p; unreachable for p >= 1.
MESM_BLOCK uint64_t mass_to_reach(double p) {
  if (p >= 1) return ~uint64_t{0};
  const double scaled = p * 0x1p62;
  const uint64_t below = static_cast<uint64_t>(scaled);
  return below + (static_cast<double>(below) < scaled);
}

// How many weights of mass `each` reach the mass `missing`.
MESM_BLOCK uint32_t ties_to_reach(uint64_t missing, uint64_t each) {
  return each >= missing ? 1 : static_cast<uint32_t>((missing + each - 1) / each);
}

// Shared memory of `find_cut`.
struct alignas(16) CutShared {
  static constexpr int kBinBits = 8;
  static constexpr int kBins = 1 << kBinBits;
  static constexpr int kFew = 64;           // weights that are compared each with each
  static constexpr int kNoCarry = 1 << 16;  // weights whose sum overflows no word below

  struct Few {
    uint64_t mass;
    uint32_t weight;
  };
  Few few[kFew];
  // The mass of a bin in three words, of 31, 16 and 15 bits: atomics on shared memory have 32.
  uint32_t high[kBins], middle[kBins], low[kBins];
  uint32_t number;  // weights in the range; `few` has the first of these

  // The index of a bin's words: a warp's lanes, each with a run of bins, read from all banks.
  static MESM_BLOCK int place(int bin) {
    constexpr int kOfLane = kBins / kLanes;
    return bin % kOfLane * kLanes + bin / kOfLane;
  }

  MESM_BLOCK void clear() {
    for_each(kBins, [&](int64_t i) { high[i] = middle[i] = low[i] = 0; });
    for_each(1, [&](int64_t) { number = 0; });
  }

  template <bool carries>
  MESM_BLOCK void add(int bin, uint64_t mass) {
    const int at = place(bin);
    const uint32_t parts[] = {static_cast<uint32_t>(mass >> 15 & 0xffff),
                              static_cast<uint32_t>(mass & 0x7fff)};
    uint32_t rest = static_cast<uint32_t>(mass >> 31);
    if (parts[0] != 0) {
      const uint32_t before = add_to(middle[at], parts[0]);
      if (carries && before + parts[0] < before) rest += 1u << 16;
    }
    if (parts[1] != 0) {
      const uint32_t before = add_to(low[at], parts[1]);
      if (carries && before + parts[1] < before) rest += 1u << 1;
    }
    if (rest != 0) add_to(high[at], rest);
  }

  MESM_BLOCK uint64_t mass(int bin) const {
    const int at = place(bin);
    return (uint64_t{high[at]} << 31) + (uint64_t{middle[at]} << 15) + low[at];
  }
};

// The cut is one of the weights from `low` to `high`; `above` is the mass of all higher weights.
struct CutRange {
  uint32_t low, high;
  uint64_t above;

  MESM_BLOCK bool holds(uint32_t weight) const { return weight >= low && weight <= high; }
};

// The bin of the range in which the cut lies. shared: cleared, and complete for all threads.
MESM_BLOCK CutRange narrowed(CutRange range, const float* weights, int32_t count, uint64_t wanted,
                             CutShared& shared) {
  const int bits = bit_width(range.high - range.low);
  const int shift = bits > CutShared::kBinBits ? bits - CutShared::kBinBits : 0;
  const auto fill = [&](auto carries) {
    for_each(count, [&](int64_t i) {
      const uint32_t weight = bits_of(weights[i]);
      if (!range.holds(weight)) return;
      const int bin = static_cast<int>((range.high - weight) >> shift);
      shared.add<decltype(carries)::value>(bin, mass_of(weight));
    });
  };
  if (count <= CutShared::kNoCarry) {
    fill(std::false_type());
  } else {
    fill(std::true_type());
  }
  sync();
  constexpr int kOfLane = CutShared::kBins / kLanes;
  uint64_t mine = 0;
  MESM_UNROLL
  for (int k = 0; k < kOfLane; ++k) mine += shared.mass(lane() * kOfLane + k);
  uint64_t before = range.above + warp_sum_before(mine);
  uint32_t bin = 0;
  if (before < wanted && before + mine >= wanted) {  // true in one lane
    bin = lane() * kOfLane;
    MESM_ROLLED
    for (uint64_t mass = shared.mass(bin); before + mass < wanted; mass = shared.mass(++bin)) {
      before += mass;
    }
  } else {
    before = 0;
  }
  range.above = warp_sum(before);
  range.high -= warp_sum(bin) << shift;
  const uint32_t width = (1u << shift) - 1;
  if (range.high - range.low > width) range.low = range.high - width;
  return range;
}

// The cut, given all weights of the range.
MESM_BLOCK Cut cut_among(const CutShared::Few* few, uint32_t number, uint64_t above,
                         uint64_t wanted) {
  Cut cut{0, 0};
  MESM_ROLLED
  for (uint32_t i = lane(); i < number; i += kLanes) {
    const CutShared::Few mine = few[i];
    uint64_t before = above, with = above;
    for (uint32_t j = 0; j < number; ++j) {
      const CutShared::Few other = few[j];
      before += other.weight > mine.weight ? other.mass : 0;
      with += other.weight >= mine.weight ? other.mass : 0;
    }
    if (before < wanted && with >= wanted) {
      cut = {mine.weight, ties_to_reach(wanted - before, mine.mass)};
    }
  }
  return {warp_max(cut.least), warp_max(cut.ties)};
}

// weights: not NaN; each thread has written the weights that `for_each` gives the thread, and all
// are complete when the function returns. shared: cleared, and complete for all threads.
MESM_BLOCK Cut find_cut(const float* weights, int32_t count, double p, Exchange& exchange,
                        CutShared& shared) {
  struct Extent {
    uint64_t mass;
    uint32_t least, most;
  };
  const uint64_t wanted = mass_to_reach(p);
  Extent mine{0, ~0u, 0};
  for_each(count, [&](int64_t i) {
    const uint32_t weight = bits_of(weights[i]);
    mine.mass += mass_of(weight);
    mine.least = weight < mine.least ? weight : mine.least;
    mine.most = weight > mine.most ? weight : mine.most;
  });
  const Extent* all =
      exchange.post(Extent{warp_sum(mine.mass), warp_min(mine.least), warp_max(mine.most)});
  mine = Extent{0, ~0u, 0};
  MESM_ROLLED
  for (int i = lane(); i < warps(); i += kLanes) {
    mine.mass += all[i].mass;
    mine.least = all[i].least < mine.least ? all[i].least : mine.least;
    mine.most = all[i].most > mine.most ? all[i].most : mine.most;
  }
  if (warp_sum(mine.mass) < wanted) return {0, ~0u};

  CutRange range{warp_min(mine.least), warp_max(mine.most), 0};
  bool few = count <= CutShared::kFew;
  while (range.low < range.high) {
    if (!few) range = narrowed(range, weights, count, wanted, shared);
    if (range.low == range.high) break;
    for_each(count, [&](int64_t i) {
      const uint32_t weight = bits_of(weights[i]);
      if (!range.holds(weight)) return;
      const uint32_t place = add_to(shared.number, 1);
      if (place < CutShared::kFew) shared.few[place] = {mass_of(weight), weight};
    });
    sync();
    const uint32_t number = shared.number;
    if (number <= CutShared::kFew) return cut_among(shared.few, number, range.above, wanted);
    sync();
    shared.clear();
    sync();
    few = false;
  }
  const uint64_t each = mass_of(range.low);
  return {range.low, ties_to_reach(wanted - range.above, each)};
}

// How many weights are kept in all, and how many before this warp's run are above `least` or equal.
struct KeptCount {
  int32_t number;
  uint32_t more, ties;
};

struct KeptVote {
  uint32_t more, ties;  // a bit for each lane
};

MESM_BLOCK KeptVote vote_kept(const float* weights, int32_t count, const Cut& cut, int32_t i) {
  const uint32_t weight = i < count ? bits_of(weights[i]) : 0;
  return {warp_vote(i < count && weight > cut.least), warp_vote(i < count && weight == cut.least)};
}

MESM_BLOCK uint32_t of_ties(const Cut& cut, uint32_t ties) {
  return ties < cut.ties ? ties : cut.ties;
}

MESM_BLOCK KeptCount count_kept(const float* weights, int32_t count, const Cut& cut,
                                Exchange& exchange) {
  struct Number {
    uint32_t more, ties;
  };
  const int32_t steps = steps_of_run(count);
  Number mine{0, 0};
  MESM_ROLLED
  for (int32_t step = 0; step < steps; ++step) {
    const KeptVote vote = vote_kept(weights, count, cut, (warp() * steps + step) * kLanes + lane());
    mine.more += ones(vote.more);
    mine.ties += ones(vote.ties);
  }
  const Number* numbers = exchange.post(mine);
  Number before{0, 0}, all{0, 0};
  MESM_ROLLED
  for (int i = lane(); i < warps(); i += kLanes) {
    all.more += numbers[i].more;
    all.ties += numbers[i].ties;
    before.more += i < warp() ? numbers[i].more : 0;
    before.ties += i < warp() ? numbers[i].ties : 0;
  }
  const uint32_t number = warp_sum(all.more) + of_ties(cut, warp_sum(all.ties));
  return {static_cast<int32_t>(number), warp_sum(before.more), warp_sum(before.ties)};
}

// Calls emit(i, number) for every kept i, numbered in ascending order.
template <class Emit>
MESM_BLOCK void emit_kept(const float* weights, int32_t count, const Cut& cut, KeptCount before,
                          const Emit& emit) {
  const int32_t steps = steps_of_run(count);
  const uint32_t lower = (1u << lane()) - 1;
  MESM_ROLLED
  for (int32_t step = 0; step < steps; ++step) {
    const int32_t i = (warp() * steps + step) * kLanes + lane();
    const KeptVote vote = vote_kept(weights, count, cut, i);
    const uint32_t more = before.more + ones(vote.more & lower);
    const uint32_t ties = before.ties + ones(vote.ties & lower);
    const bool tied = vote.ties >> lane() & 1;
    if ((vote.more >> lane() & 1) || (tied && ties < cut.ties)) {
      emit(i, static_cast<int32_t>(more + of_ties(cut, ties)));
    }
    before.more += ones(vote.more);
    before.ties += ones(vote.ties);
  }
}

// weights = softmax(scores), complete for all threads, and the cut that ends the nucleus. A thread
// must have written the scores that `for_each` gives the thread; weights may be scores.
MESM_BLOCK Cut softmax_cut(const float* scores, int32_t count, double p, float* weights,
                           Exchange& exchange, CutShared& shared) {
  shared.clear();
  const bool finite = softmax(scores, count, weights, exchange);
  if (finite && p < 1) return find_cut(weights, count, p, exchange, shared);
  sync();
  return {0, ~0u};  // keeps all
}

// As softmax_cut; then calls emit(i, number) for every kept i, numbered in ascending order, in any
// thread. Returns how many are kept. After the next `sync` all writes of `emit` are complete, and
// `exchange` and `shared` are free.
template <class Emit>
MESM_BLOCK int32_t nucleus(const float* scores, int32_t count, double p, float* weights,
                           Exchange& exchange, CutShared& shared, const Emit& emit) {
  const Cut cut = softmax_cut(scores, count, p, weights, exchange, shared);
  const KeptCount kept = count_kept(weights, count, cut, exchange);
  emit_kept(weights, count, cut, kept, emit);
  return kept.number;
}

}  // namespace mesm_ops
