// What the models are made of: Relacy's atomics, variables and mutexes with the faces of the standard ones, so that the
// kernels under test are the ones the library ships, and explore(), which runs a model and reports.
//
// Relacy (https://github.com/dvyukov/relacy) runs a few threads under a scheduler of its own, over and over, and lets
// each load return any value that the C++ memory model allows: it finds what no stress test on a strongly ordered
// processor does.

#pragma once

#include <cohort/detail/sync.hpp>  // which the kernels include

#include <atomic>       // for std::memory_order
#include <iostream>     // for std::cout
#include <type_traits>  // for std::type_identity

// After what its macros would break.
#include <relacy/relacy.hpp>

// Relacy renames keywords and standard functions, to see through them. Its names are spelt out here instead, and the
// kernels mean the standard ones.
#undef assert
#undef calloc
#undef delete
#undef errno
#undef free
#undef malloc
#undef memory_order_acq_rel
#undef memory_order_acquire
#undef memory_order_consume
#undef memory_order_relaxed
#undef memory_order_release
#undef memory_order_seq_cst
#undef new
#undef realloc

// A mutant is a model with one seeded bug, which it must find. 0 is the model without any.
#ifndef COHORT_MUTANT
#define COHORT_MUTANT 0
#endif

namespace model {

// The line of the kernel that does something, for the history that Relacy prints of a failed execution.
struct Place : rl::debug_info {
  Place(const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
        unsigned line = __builtin_LINE())
      : rl::debug_info(function, file, line) {}
};

constexpr rl::memory_order relacy_order(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return rl::mo_relaxed;
    case std::memory_order_consume:
      return rl::mo_consume;
    case std::memory_order_acquire:
      return rl::mo_acquire;
    case std::memory_order_release:
      return rl::mo_release;
    case std::memory_order_acq_rel:
      return rl::mo_acq_rel;
    default:
      return rl::mo_seq_cst;
  }
}

enum class Access { load, store, exchange };  // exchange: whatever reads and writes in one

// The memory orders of the kernels as they are.
struct AsWritten {
  static constexpr std::memory_order order(Access, std::memory_order written) { return written; }
};

// For mutants: accesses of one kind, written with the order `From`, get the order `To`.
template <Access Kind, std::memory_order From, std::memory_order To>
struct Weakened {
  static constexpr std::memory_order order(Access access, std::memory_order written) {
    return access == Kind && written == From ? To : written;
  }
};

// std::atomic. What std::atomic guarantees of its initial value, none of it before the object is constructed, is
// checked too.
template <class T, class Orders = AsWritten>
class Atomic {
 public:
  Atomic() : value_(T()) {}
  Atomic(T value) : value_(value) {}

  T load(std::memory_order order, Place place = {}) const { return value_.load(in(Access::load, order), place); }
  void store(T value, std::memory_order order, Place place = {}) {
    value_.store(value, in(Access::store, order), place);
  }
  T exchange(T value, std::memory_order order, Place place = {}) {
    return value_.exchange(value, in(Access::exchange, order), place);
  }
  T fetch_add(T value, std::memory_order order, Place place = {}) {
    return value_.fetch_add(value, in(Access::exchange, order), place);
  }
  T fetch_sub(T value, std::memory_order order, Place place = {}) {
    return value_.fetch_sub(value, in(Access::exchange, order), place);
  }
  T fetch_or(T value, std::memory_order order, Place place = {}) {
    return value_.fetch_or(value, in(Access::exchange, order), place);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order, Place place = {}) {
    return value_.compare_exchange_strong(expected, desired, in(Access::exchange, order), place);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order, Place place = {}) {
    return value_.compare_exchange_weak(expected, desired, in(Access::exchange, order), place);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order, std::memory_order failure,
                               Place place = {}) {
    return value_.compare_exchange_strong(expected, desired, in(Access::exchange, order), place, relacy_order(failure),
                                          place);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order, std::memory_order failure,
                             Place place = {}) {
    return value_.compare_exchange_weak(expected, desired, in(Access::exchange, order), place, relacy_order(failure),
                                        place);
  }

  void wait(T old, std::memory_order order, Place place = {}) { static_cast<void>(wait(old, order, false, place)); }
  // False when its time was over, which can be at any moment. Not in std::atomic.
  bool wait_for_some_time(T old, std::memory_order order, Place place = {}) { return wait(old, order, true, place); }
  void notify_one(Place place = {}) { notify(1, place); }
  void notify_all(Place place = {}) { notify(rl::ctx().get_thread_count(), place); }

 private:
  bool wait(T old, std::memory_order order, bool timed, Place place) {
    while (load(order, place) == old) {
      // As the system does: looks once more, at what the memory holds at last, and sleeps, in one.
      if (value_.debug_value() != old) continue;
      if (value_.wait(rl::ctx(), timed, false, place) == rl::unpark_reason_timeout) return false;
    }
    return true;
  }
  void notify(int threads, Place place) {
    rl::ctx().sched();  // others may run between the last operation on the value and this
    value_.wake(rl::ctx(), threads, place);
  }
  static constexpr rl::memory_order in(Access access, std::memory_order order) {
    return relacy_order(Orders::order(access, order));
  }

  rl::atomic<T> value_;
};

// Ordinary data, which Relacy watches for races.
template <class T>
class Var {
 public:
  Var() : value_(T()) {}
  Var(const Var&) = delete;

  operator T() const { return value_(RL_INFO).load(); }
  T operator->() const { return *this; }
  Var& operator=(T value) {
    value_(RL_INFO).store(value);
    return *this;
  }
  Var& operator=(const Var& other) { return *this = T(other); }

 private:
  rl::var<T> value_;
};

// std::mutex.
class Mutex {
 public:
  void lock(Place place = {}) { mutex_.lock(place); }
  void unlock(Place place = {}) { mutex_.unlock(place); }

 private:
  rl::mutex mutex_;
};

// Waits for another thread to get on.
struct Yield {
  void operator()() const { rl::yield(1, RL_INFO); }
};

// A base of models that allocate: in a search of all executions, memory comes straight from malloc(). Relacy's own
// would look at every free() twice, with the memory used again and not. The random search keeps it: it knows leaks,
// and memory that is freed twice.
class PlainMemory {
 public:
  PlainMemory() { plain() += times_; }
  ~PlainMemory() { plain() -= times_; }

 private:
  struct Context : rl::context {
    static constexpr auto plain = &Context::disable_alloc_;
  };
  static int& plain() { return rl::ctx().*Context::plain; }

  const int times_ = rl::ctx().is_random_sched() ? 0 : 1;
};

// Runs a model. True when nothing was wrong.
template <class Model>
bool holds(rl::test_params parameters) {
  static std::ostream nowhere(nullptr);
  parameters.execution_depth_limit = 10'000;
  parameters.progress_stream = &nowhere;
  if (COHORT_MUTANT != 0) parameters.output_stream = &nowhere;  // a history of what is known to be wrong helps nobody
  std::cout << rl::format(parameters.search_type) << ", ";
  rl::simulate<Model>(parameters);
  if (parameters.test_result == rl::test_result_success) return true;
  std::cout << rl::test_result_str(parameters.test_result) << " in execution " << parameters.stop_iteration
            << std::endl;
  return false;
}

// `Model::executions` at random.
template <class Model>
bool holds_at_random() {
  rl::test_params parameters;
  parameters.search_type = rl::sched_random;
  parameters.iteration_count = Model::executions;
  return holds<Model>(parameters);
}

// All executions with up to `Model::switches` switches away from a thread that could go on.
template <class Model>
bool holds_exhaustively() {
  rl::test_params parameters;
  parameters.search_type = rl::sched_bound;
  parameters.context_bound = Model::switches;
  return holds<Model>(parameters);
}

// The main program of models: success is that all hold, or that a mutant does not. A model without `switches` has
// executions without end, and is only run at random.
template <class... Models>
int explore() {
  const auto holds = []<class Model>(std::type_identity<Model>) {
    if constexpr (requires { Model::switches; }) {
      if (!holds_exhaustively<Model>()) return false;
    }
    return holds_at_random<Model>();
  };
  const bool all_hold = (holds(std::type_identity<Models>()) && ...);
  if (COHORT_MUTANT != 0 && all_hold) std::cout << "mutant " << COHORT_MUTANT << " was not found" << std::endl;
  return all_hold == (COHORT_MUTANT == 0) ? 0 : 1;
}

}  // namespace model
