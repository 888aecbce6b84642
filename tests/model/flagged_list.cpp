// FlaggedList, as the two things that are made of it use it: futures, which are closed once and then wake who waits,
// and scopes, which anybody may mark or close.

#include "relacy_atomic.hpp"

#include <cohort/detail/flagged_list.hpp>

#include <array>  // for std::array

namespace {

using enum std::memory_order;
using model::Access;

#if COHORT_MUTANT == 1  // who takes the lock does not see what its last holder did
using Orders = model::Weakened<Access::exchange, acquire, relaxed>;
#elif COHORT_MUTANT == 2  // who gives it back does not show it
using Orders = model::Weakened<Access::exchange, release, relaxed>;
#elif COHORT_MUTANT == 3  // who sees a flag does not see what was done before it was set
using Orders = model::Weakened<Access::load, acquire, relaxed>;
#elif COHORT_MUTANT == 4  // who sets a flag does not show what it did before
using Orders = model::Weakened<Access::exchange, acq_rel, acquire>;
#elif COHORT_MUTANT == 5  // who comes too late to mark does not see what the first one did
using Orders = model::Weakened<Access::exchange, acq_rel, release>;
#elif COHORT_MUTANT == 7  // who gives back the lock of a marked list does not show it
using Orders = model::Weakened<Access::store, release, relaxed>;
#else
using Orders = model::AsWritten;
#endif

template <class T>
struct Atomic : model::Atomic<T, Orders> {
  using Base = model::Atomic<T, Orders>;
  using Base::Base;
#if COHORT_MUTANT == 6  // giving the lock back overwrites what mark() has set meanwhile
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order, std::memory_order failure) {
    if (order != release) return Base::compare_exchange_weak(expected, desired, order, failure);
    this->store(desired, order);
    return true;
  }
#endif
};

struct alignas(16) Element {
  // Who takes it out has it for himself: Relacy sees if the list still touches its links. Its owner may still ask the
  // list to remove it, which looks at `after`.
  void take() {
    ++taken;
    before = nullptr;
  }

  model::Var<Element*> after;
  model::Var<Element*> before;
  bool added = false;
  int taken = 0;
};

using List = cohort::detail::FlaggedList<Element, Atomic, model::Yield>;

// One thread writes a result, closes the list and wakes the waiters; two threads wait, one of them not for long.
struct Future : rl::test_suite<Future, 3> {
  static constexpr unsigned switches = 3;
  static constexpr rl::iteration_t executions = 200'000;

  void thread(unsigned index) {
    if (index == 0) {
      result = 1;
      if (waiters.close_if_empty()) return;
      for (Element* waiter = waiters.close_and_pop(); waiter != nullptr; waiter = waiters.pop()) waiter->take();
      return;
    }
    Element& waiter = elements[index - 1];
    waiter.added = waiters.add(waiter);
    if (!waiter.added) RL_ASSERT(result == 1);
    if (waiters.has(List::closed)) RL_ASSERT(result == 1);
    if (index == 1 && waiters.remove(waiter)) waiter.take();
  }

  void after() {
    RL_ASSERT(waiters.has(List::closed) && waiters.empty());
    for (const Element& waiter : elements) RL_ASSERT(waiter.taken == (waiter.added ? 1 : 0));
  }

  List waiters{List::marked};  // as futures have it
  model::Var<int> result;
  std::array<Element, 2> elements;
};

// Two threads mark the list, each in its way, close it and take out what they find; a third adds and removes.
struct Scope : rl::test_suite<Scope, 3> {
  static constexpr unsigned switches = 3;
  static constexpr rl::iteration_t executions = 200'000;

  void thread(unsigned index) {
    if (index == 2) {
      for (Element& node : elements) node.added = nodes.add(node);
      if (nodes.has(List::marked)) RL_ASSERT(done[nodes.has(List::void_mark) ? 1 : 0] == 1);
      if (nodes.remove(elements[0])) elements[0].take();
      return;
    }
    done[index] = 1;
    marks += index == 0 ? mark() : nodes.mark_void();
    closes += nodes.close();
    while (Element* node = nodes.pop()) node->take();
  }

  bool mark() {
    const bool first = nodes.mark();
    if (!first) RL_ASSERT(done[1] == 1);
    return first;
  }

  void after() {
    RL_ASSERT(nodes.has(List::marked) && marks == 1);
    RL_ASSERT(nodes.has(List::closed) && closes == 1);
    RL_ASSERT(nodes.empty());
    for (const Element& node : elements) RL_ASSERT(node.taken == (node.added ? 1 : 0));
  }

  List nodes;
  std::array<model::Var<int>, 2> done;  // by each of the two, before it marks
  int marks = 0;
  int closes = 0;
  std::array<Element, 2> elements;
};

}  // namespace

int main() { return model::explore<Future, Scope>(); }
