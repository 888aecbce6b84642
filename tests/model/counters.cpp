// The counters by which a shutdown finds out that everything has ended: each has one writer, and is summed up by others.
//
// Repeats WorkerCounters::add() and ThreadPool::drained(). Who changes the one should change the other.

#include "relacy_atomic.hpp"

#include <array>  // for std::array

namespace {

using enum std::memory_order;
using model::Access;

#if COHORT_MUTANT == 1  // who counts does not show what came before
using Orders = model::Weakened<Access::store, release, relaxed>;
#elif COHORT_MUTANT == 2  // who sums up does not see what came before
using Orders = model::Weakened<Access::load, acquire, relaxed>;
#else
using Orders = model::AsWritten;
#endif
constexpr bool reads_what_has_left_first = COHORT_MUTANT != 3;

using Counter = model::Atomic<int, Orders>;

void add(Counter& counter) { counter.store(counter.load(relaxed) + 1, release); }

struct Worker {
  Counter submitted;
  Counter left;
};

// A task that came from outside submits another and ends; a second worker takes that one, if it is there; a third thread
// wants to know whether all have ended.
struct Drained : rl::test_suite<Drained, 3> {
  static constexpr unsigned switches = 4;
  static constexpr rl::iteration_t executions = 200'000;

  void thread(unsigned index) {
    if (index == 2) {
      if (drained()) RL_ASSERT(ended[0] == 1 && ended[1] == 1);
      return;
    }
    if (index == 0) {
      add(workers[0].submitted);
      queued.store(1, seq_cst);
    } else if (queued.load(seq_cst) == 0) {
      return;
    }
    ended[index] = 1;
    add(workers[index].left);
  }

  bool drained() {
    constexpr int accepted = 1;  // from outside, which is closed
    const int submitted_early = reads_what_has_left_first ? 0 : sum(&Worker::submitted);
    const int left = sum(&Worker::left);
    return left == accepted + (reads_what_has_left_first ? sum(&Worker::submitted) : submitted_early);
  }

  int sum(Counter Worker::*counter) {
    int total = 0;
    for (Worker& worker : workers) total += (worker.*counter).load(acquire);
    return total;
  }

  std::array<Worker, 2> workers;
  model::Atomic<int> queued;
  std::array<model::Var<int>, 2> ended;
};

}  // namespace

int main() { return model::explore<Drained>(); }
