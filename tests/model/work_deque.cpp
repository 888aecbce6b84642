// WorkDeque: its owner pushes, with growth, and pops, while two thieves steal. Each element is taken exactly once,
// and who takes it sees what the owner wrote into it.

#include "relacy_atomic.hpp"

#include <cohort/detail/work_deque.hpp>

#include <array>   // for std::array
#include <memory>  // for std::unique_ptr

namespace {

using enum std::memory_order;
using model::Access;

#if COHORT_MUTANT == 1  // who has lowered the bottom, or pushed, may look at the top before others see it
using Orders = model::Weakened<Access::store, seq_cst, release>;
#elif COHORT_MUTANT == 2  // looks at top and bottom may be old ones
using Orders = model::Weakened<Access::load, seq_cst, acquire>;
#elif COHORT_MUTANT == 3  // a new buffer can be seen before what was copied into it
using Orders = model::Weakened<Access::store, release, relaxed>;
#elif COHORT_MUTANT == 4  // the same, at the thief's end
using Orders = model::Weakened<Access::load, acquire, relaxed>;
#elif COHORT_MUTANT == 5  // taking is not in the one order of looks at the top and the bottom
using Orders = model::Weakened<Access::exchange, seq_cst, acq_rel>;
#else
using Orders = model::AsWritten;
#endif

template <class T>
using Atomic = model::Atomic<T, Orders>;

struct Element {
  model::Var<int> content;
  int taken = 0;
};

struct OwnerAndTwoThieves : rl::test_suite<OwnerAndTwoThieves, 3>, model::PlainMemory {
  static constexpr unsigned switches = 2;
  static constexpr rl::iteration_t executions = 400'000;

  void thread(unsigned index) {
    if (index != 0) {
      take(deque->steal());
      take(deque->steal());
      return;
    }
    push(0);
    push(1);
    pop();
    push(2);
    push(3);  // the second growth, when nothing was stolen
    pop();
    pop();
  }

  void after() {
    while (Element* element = deque->pop()) take(element);
    for (const Element& element : elements) RL_ASSERT(element.taken == 1);
  }

  void push(std::size_t number) {
    elements[number].content = 1;
    deque->reserve();
    deque->push_reserved(&elements[number]);
  }

  void pop() {
    Element* const newest = deque->newest();
    Element* const popped = deque->pop();
    RL_ASSERT(popped == nullptr || popped == newest);
    take(popped);
  }

  void take(Element* element) {
    if (element == nullptr) return;
    RL_ASSERT(element->content == 1);
    ++element->taken;
  }

  std::array<Element, 4> elements;
  std::unique_ptr<cohort::detail::WorkDeque<Element, Atomic>> deque{new cohort::detail::WorkDeque<Element, Atomic>(1)};
};

// The owner takes the oldest by name, and then what is left.
struct OldestAndTwoThieves : rl::test_suite<OldestAndTwoThieves, 3>, model::PlainMemory {
  static constexpr unsigned switches = 2;
  static constexpr rl::iteration_t executions = 200'000;

  void thread(unsigned index) {
    if (index != 0) {
      take(deque->steal());
      return;
    }
    for (Element& element : elements) {
      element.content = 1;
      deque->reserve();
      deque->push_reserved(&element);
    }
    for (Element& element : elements) {
      if (deque->take(&element)) take(&element);
    }
  }

  void after() {
    while (Element* element = deque->pop()) take(element);
    for (const Element& element : elements) RL_ASSERT(element.taken == 1);
  }

  static void take(Element* element) {
    if (element == nullptr) return;
    RL_ASSERT(element->content == 1);
    ++element->taken;
  }

  std::array<Element, 3> elements;
  std::unique_ptr<cohort::detail::WorkDeque<Element, Atomic>> deque{new cohort::detail::WorkDeque<Element, Atomic>(2)};
};

// The owner adds several at once, which makes the deque grow, and pops what is left.
struct AllAtOnceAndTwoThieves : rl::test_suite<AllAtOnceAndTwoThieves, 3>, model::PlainMemory {
  static constexpr unsigned switches = 2;
  static constexpr rl::iteration_t executions = 200'000;

  void thread(unsigned index) {
    if (index != 0) {
      take(deque->steal());
      return;
    }
    std::array<Element*, 3> all{};
    for (std::size_t number = 0; number < elements.size(); ++number) {
      elements[number].content = 1;
      all[number] = &elements[number];
    }
    RL_ASSERT(deque->try_push_all(all.data() + 2, 1));
    RL_ASSERT(deque->try_push_all(all.data(), 2));
    Element* const newest = deque->pop();
    RL_ASSERT(newest == nullptr || newest == all[0]);
    take(newest);
    take(deque->pop());
  }

  void after() {
    while (Element* element = deque->pop()) take(element);
    for (const Element& element : elements) RL_ASSERT(element.taken == 1);
  }

  static void take(Element* element) {
    if (element == nullptr) return;
    RL_ASSERT(element->content == 1);
    ++element->taken;
  }

  std::array<Element, 3> elements;
  std::unique_ptr<cohort::detail::WorkDeque<Element, Atomic>> deque{new cohort::detail::WorkDeque<Element, Atomic>(2)};
};

}  // namespace

int main() { return model::explore<OwnerAndTwoThieves, OldestAndTwoThieves, AllAtOnceAndTwoThieves>(); }
