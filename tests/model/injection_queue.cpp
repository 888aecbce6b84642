// InjectionQueue: pushers and poppers in any number. Nothing is lost or doubled, what one thread pushes comes out in
// order, and who announces itself before it finds the queue empty has missed nobody who looks for announcements after
// pushing.

#include "relacy_atomic.hpp"

#include <cohort/detail/injection_queue.hpp>

#include <algorithm>  // for std::max
#include <array>      // for std::array

namespace {

using enum std::memory_order;
using model::Access;

#if COHORT_MUTANT == 1  // a push can be seen after the look for sleepers
using Orders = model::Weakened<Access::exchange, seq_cst, acq_rel>;
#elif COHORT_MUTANT == 2  // the look around before sleeping can be an old one
using Orders = model::Weakened<Access::load, seq_cst, acquire>;
#elif COHORT_MUTANT == 3  // who pops does not see what was pushed
using Orders = model::Weakened<Access::exchange, seq_cst, relaxed>;
#else
using Orders = model::AsWritten;
#endif

template <class T>
struct Atomic : model::Atomic<T, Orders> {
  using Base = model::Atomic<T, Orders>;
  using Base::Base;
#if COHORT_MUTANT == 4  // pop() says that there are more, refill() does not
  void store(T value, std::memory_order order, model::Place place = {}) {
    if (value == T() || announced) Base::store(value, order, place);
    announced = value != T();
  }
  bool announced = false;
#endif
};

#if COHORT_MUTANT == 5
struct Mutex {
  void lock() {}
  void unlock() {}
};
#else
using model::Mutex;
#endif

struct Node {
  model::Var<Node*> next;
  std::size_t pusher = 0;
  int number = 0;  // of the pusher's nodes, from 1 on
  bool pushed = false;
  bool popped = false;
};

using Queue = cohort::detail::BasicInjectionQueue<Node, Atomic, Mutex>;

// Two threads push two nodes each, two others pop.
struct Order : rl::test_suite<Order, 4> {
  static constexpr unsigned switches = 2;
  static constexpr rl::iteration_t executions = 300'000;

  void thread(unsigned index) {
    if (index < 2) {
      for (int number = 1; number <= 2; ++number) {
        Node& node = nodes[2 * index + static_cast<std::size_t>(number) - 1];
        node.pusher = index;
        node.number = number;
        queue.push(node);
      }
    } else {
      pop();
      pop();
    }
  }

  void after() {
    while (pop()) {
    }
    for (const Node& node : nodes) RL_ASSERT(node.popped);
    RL_ASSERT(queue.empty());
  }

  bool pop() {
    const std::array<int, 2> before = last;  // popped before this began
    Node* const node = queue.pop();
    if (node == nullptr) return false;
    RL_ASSERT(!node->popped && node->number > before[node->pusher]);
    node->popped = true;
    node->next = nullptr;  // from here on the node is the popper's: Relacy sees if the queue still touches it
    last[node->pusher] = std::max(last[node->pusher], node->number);
    return true;
  }

  Queue queue;
  std::array<Node, 4> nodes;
  std::array<int, 2> last{};  // of each pusher's nodes, the last that was popped
};

// A pusher, a popper, and a worker that goes to sleep if nobody stops it.
struct GoingToSleep : rl::test_suite<GoingToSleep, 3> {
  static constexpr unsigned switches = 3;
  static constexpr rl::iteration_t executions = 300'000;

  void thread(unsigned index) {
    switch (index) {
      case 0:
        for (Node& node : nodes) {
          queue.push(node);
          if (announced.load(seq_cst) != 0) seen = true;
        }
        break;
      case 1:
        static_cast<void>(queue.pop());
        static_cast<void>(queue.pop());
        break;
      default:
        announced.fetch_add(1, seq_cst);
        asleep = queue.empty();
        break;
    }
  }

  // Who sleeps, unseen by the pusher, must have nothing to do.
  void after() { RL_ASSERT(!asleep || seen || queue.pop() == nullptr); }

  Queue queue;
  std::array<Node, 3> nodes;
  model::Atomic<int> announced;
  bool seen = false;
  bool asleep = false;
};

}  // namespace

int main() { return model::explore<GoingToSleep, Order>(); }
