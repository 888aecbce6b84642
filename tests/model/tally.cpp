// Tally, as a set of futures uses it: reports that the owner waits for, two who take his wait back at once, and the last
// report, with which all ends.

#include "relacy_atomic.hpp"

#include <cohort/detail/tally.hpp>

#include <array>  // for std::array

namespace {

using enum std::memory_order;
using model::Access;

#if COHORT_MUTANT == 1  // who reports does not show what came before
using Orders = model::Weakened<Access::exchange, acq_rel, acquire>;
#elif COHORT_MUTANT == 2  // the last who reports does not see what came before
using Orders = model::Weakened<Access::exchange, acq_rel, release>;
#elif COHORT_MUTANT == 3  // who counts does not see what came before
using Orders = model::Weakened<Access::load, acquire, relaxed>;
#else
using Orders = model::AsWritten;
#endif

template <class T>
struct Atomic : model::Atomic<T, Orders> {
  using Base = model::Atomic<T, Orders>;
  using Base::Base;
#if COHORT_MUTANT == 4  // a wait is taken back though the last report has come meanwhile
  bool compare_exchange_weak(T&, T desired, std::memory_order order, std::memory_order) {
    this->store(desired, order);
    return true;
  }
#endif
};

struct Set : rl::test_suite<Set, 3> {
  static constexpr unsigned switches = 4;
  static constexpr rl::iteration_t executions = 200'000;

  void thread(unsigned index) {
    if (index == 0) return own();
    report(index - 1);
    if (index != 2) return;
    if (waits.load(acquire) != 0) withdrawals += reports.withdraw();
    withdrew.store(1, release);
  }

  void own() {
    at_the_end = 0;
    if (reports.wait_for(2)) {
      waits.store(1, release);
      withdrawals += reports.withdraw();
      while (withdrew.load(acquire) == 0) model::Yield()();
      if (withdrawals == 0) {
        while (woken.load(acquire) == 0) model::Yield()();
      }
      RL_ASSERT(withdrawals + woken.load(relaxed) == 1);
    } else {
      see_results();
    }
    if (reports.count() == 2) see_results();
    at_the_end = 1;
    if (!reports.wait_for(2)) end();
  }

  void report(unsigned index) {
    results[index] = 1;
    if (!reports.add()) return;
    if (at_the_end == 1) {
      end();
    } else {
      see_results();
      woken.store(1, release);
    }
  }

  void see_results() { RL_ASSERT(results[0] == 1 && results[1] == 1); }
  void end() {
    see_results();
    ++ends;
  }

  void after() {
    RL_ASSERT(ends == 1 && reports.count() == 2);
    RL_ASSERT(withdrawals <= 1);
  }

  cohort::detail::Tally<Atomic> reports;
  std::array<model::Var<int>, 2> results;
  model::Var<int> at_the_end;  // by the owner, for the last who reports
  model::Atomic<int> waits;
  model::Atomic<int> withdrew;
  model::Atomic<int> woken;
  int withdrawals = 0;
  int ends = 0;
};

}  // namespace

int main() { return model::explore<Set>(); }
