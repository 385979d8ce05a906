// The nucleus of one frame, by one block: attention = softmax(scores); kept is the shortest head,
// in descending order of attention and then ascending order of sites, whose mass reaches p.
//
// The bits of a number >= 0 ascend with it. So the cut is searched among 32-bit integers: each warp
// sums the mass from another threshold on, which narrows the range to one part in warps() + 1, and
// further to the attention values that occur. Masses are integers, 2^-62 each: their sums are exact
// in any order, finer than the reference's sums in double, and the same in every run.
#pragma once

#include "block.cuh"

namespace mesm_ops {

// Kept: what is more than `least`, and the first `ties` of those equal to it.
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

// e^x for x <= 0, within 2^-34 of it, which is 0.002 ulp of float; e^-150 for all below.
// x = n ln2 + r, a minimax polynomial in r, n added to the exponent. As on the CPU.
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

// weights = softmax(scores), in double and rounded once; false if it is NaN, as all weights are
// then. weights may be scores. They are complete after the next `sync`.
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
  for_each(count, [&](int64_t i) { sum += exp_below(scores[i] - largest); });
  const double share = 1 / block_sum(sum, exchange);
  for_each(count, [&](int64_t i) {
    weights[i] = static_cast<float>(exp_below(scores[i] - largest) * share);
  });
  return true;
}

// Of the weight, in units of 2^-62.
MESM_BLOCK uint64_t mass_of(uint32_t weight_bits) {
  return static_cast<uint64_t>(static_cast<int64_t>(float_of(weight_bits) * 0x1p62f));
}

// What a mass must reach to be >= p; no mass does for p >= 1.
MESM_BLOCK uint64_t mass_to_reach(double p) {
  if (p >= 1) return ~uint64_t{0};
  const double scaled = p * 0x1p62;
  const uint64_t below = static_cast<uint64_t>(scaled);
  return below + (static_cast<double>(below) < scaled);
}

struct MassFrom {
  uint64_t mass;         // of all from a threshold on
  uint32_t least, most;  // the least weight from it on, and the most below it
};

// weights: not NaN, written by `for_each`, which reads them first; complete for all threads after.
MESM_BLOCK Cut find_cut(const float* weights, int32_t count, double p, Exchange& exchange) {
  const uint64_t wanted = mass_to_reach(p);
  MassFrom mine{0, ~0u, 0};
  for_each(count, [&](int64_t i) {
    const uint32_t weight = bits_of(weights[i]);
    mine.mass += mass_of(weight);
    mine.least = weight < mine.least ? weight : mine.least;
    mine.most = weight > mine.most ? weight : mine.most;
  });
  const MassFrom* all =
      exchange.post(MassFrom{warp_sum(mine.mass), warp_min(mine.least), warp_max(mine.most)});
  mine = MassFrom{0, ~0u, 0};
  for (int i = lane(); i < warps(); i += kLanes) {
    mine.mass += all[i].mass;
    mine.least = all[i].least < mine.least ? all[i].least : mine.least;
    mine.most = all[i].most > mine.most ? all[i].most : mine.most;
  }
  if (warp_sum(mine.mass) < wanted) return {0, ~0u};

  // low and high are weights that occur; the mass above high does not reach, that from low on does.
  uint32_t low = warp_min(mine.least);
  uint32_t high = warp_max(mine.most);
  uint64_t above = 0;
  while (low < high) {
    const uint32_t parts = warps() + 1;
    const uint32_t step = (high - low + parts - 1) / parts;
    const uint32_t threshold = low + (warp() + 1) * step;
    mine = MassFrom{0, ~0u, 0};
    for (int32_t i = lane(); i < count; i += kLanes) {
      const uint32_t weight = bits_of(weights[i]);
      if (weight < low || weight > high) continue;
      if (weight >= threshold) {
        mine.mass += mass_of(weight);
        mine.least = weight < mine.least ? weight : mine.least;
      } else {
        mine.most = weight > mine.most ? weight : mine.most;
      }
    }
    const MassFrom* parted = exchange.post(
        MassFrom{above + warp_sum(mine.mass), warp_min(mine.least), warp_max(mine.most)});
    uint32_t reached = 0;  // thresholds ascend, masses descend
    for (int i = lane(); i < warps(); i += kLanes) reached += parted[i].mass >= wanted;
    reached = warp_sum(reached);
    if (reached > 0) low = parted[reached - 1].least;
    if (reached + 1 < parts) {
      high = parted[reached].most;
      above = parted[reached].mass;
    }
  }
  const uint64_t missing = wanted - above;
  const uint64_t each = mass_of(low);
  const uint64_t ties = each >= missing ? 1 : (missing + each - 1) / each;
  return {low, static_cast<uint32_t>(ties)};
}

// How many are kept, and how many weights before this warp's run are more than the cut's, or equal.
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

// weights = softmax(scores), complete for all threads, and where the nucleus ends in them. scores:
// complete for all threads; weights may be scores.
MESM_BLOCK Cut softmax_cut(const float* scores, int32_t count, double p, float* weights,
                           Exchange& exchange) {
  const bool finite = softmax(scores, count, weights, exchange);
  if (finite && p < 1) return find_cut(weights, count, p, exchange);
  sync();
  return {0, ~0u};  // all
}

// The whole of it: weights = softmax(scores), emit(i, number) for every kept i in ascending order,
// by any thread; returns how many are kept, in all threads. After the next `sync`, what emit wrote
// is complete and `exchange` free.
template <class Emit>
MESM_BLOCK int32_t nucleus(const float* scores, int32_t count, double p, float* weights,
                           Exchange& exchange, const Emit& emit) {
  const Cut cut = softmax_cut(scores, count, p, weights, exchange);
  const KeptCount kept = count_kept(weights, count, cut, exchange);
  emit_kept(weights, count, cut, kept, emit);
  return kept.number;
}

}  // namespace mesm_ops
