// How the workers of ThreadPool sleep, are woken, change places and end: no task is left in a queue, and no timer
// without somebody to watch the clock, while a worker sleeps; and all workers leave after shutdown. Lost wake-ups
// show as deadlocks.
//
// Pool repeats ThreadPool::search(), what goes with it, and Parker, on the real queues. It makes one round where
// search() makes four, and has one timer in place of the wheel. Who changes the one should change the other.

#include "relacy_atomic.hpp"

#include <cohort/detail/injection_queue.hpp>
#include <cohort/detail/work_deque.hpp>

#include <algorithm>  // for std::find
#include <array>      // for std::array
#include <cstdint>    // for std::uint64_t
#include <memory>     // for std::unique_ptr
#include <mutex>      // for std::lock_guard
#include <vector>     // for std::vector

namespace {

using enum std::memory_order;
using model::Access;

template <class T>
using Atomic = model::Atomic<T>;

// What the mutants leave out or weaken.
constexpr bool looks_again_before_sleeping = COHORT_MUTANT != 1;
constexpr bool last_searcher_wakes_next = COHORT_MUTANT != 2;
constexpr bool also_when_it_found_nothing = COHORT_MUTANT != 3;
constexpr bool leaves_token_for_who_is_awake = COHORT_MUTANT != 4;
constexpr bool shutdown_wakes = COHORT_MUTANT != 5;
#if COHORT_MUTANT == 6  // who has made work does not see the announcement of who goes to sleep
using IdleOrders = model::Weakened<Access::load, seq_cst, acquire>;
#elif COHORT_MUTANT == 7  // who goes to sleep does not announce it in the one order
using IdleOrders = model::Weakened<Access::exchange, seq_cst, acq_rel>;
#else
using IdleOrders = model::AsWritten;
#endif
#if COHORT_MUTANT == 8  // a push to a deque can be seen after the look for sleepers
using DequeOrders = model::Weakened<Access::store, seq_cst, release>;
#else
using DequeOrders = model::AsWritten;
#endif

template <class T>
using DequeAtomic = model::Atomic<T, DequeOrders>;

struct Task {
  model::Var<Task*> next;
};

// As Parker; with a time limit, it also returns when that is over, and then says so.
class Parker {
 public:
  bool park(bool timed) {
    int expected = empty;
    if (!word_.compare_exchange_strong(expected, sleeping, seq_cst)) return true;
    bool in_time = true;
    if (timed) {
      in_time = word_.wait_for_some_time(sleeping, seq_cst);
    } else {
      word_.wait(sleeping, seq_cst);
    }
    expected = sleeping;
    word_.compare_exchange_strong(expected, empty, seq_cst);
    return in_time;
  }

  void wait_for_unpark() {
    while (word_.load(seq_cst) != token) park(false);
    word_.store(empty, seq_cst);
  }

  void unpark() {
    if (!leaves_token_for_who_is_awake && word_.load(seq_cst) != sleeping) return;
    if (word_.exchange(token, seq_cst) == sleeping) word_.notify_one();
  }

 private:
  static constexpr int empty = 0;
  static constexpr int sleeping = 1;
  static constexpr int token = 3;
  Atomic<int> word_{empty};
};

struct Worker {
  cohort::detail::WorkDeque<Task, DequeAtomic> deque{2};
  Atomic<int> submitted;
  Atomic<int> left;
  Parker parker;
  bool parked = false;
};

// A number of events; somebody waits for some of them.
class Events {
 public:
  void add() {
    count_.fetch_add(1, seq_cst);
    count_.notify_all();
  }
  [[nodiscard]] bool over(int count) const { return count_.load(seq_cst) >= count; }
  void wait(int count) {
    for (int now = count_.load(seq_cst); now < count; now = count_.load(seq_cst)) count_.wait(now, seq_cst);
  }

 private:
  Atomic<int> count_;
};

// Threads 0 and 1 begin as the workers; thread 2 is outside.
class Pool : model::PlainMemory {
 protected:
  Pool() { sleepers_.reserve(workers_.size()); }
  ~Pool() = default;

  virtual void run(Task& task, Worker& worker) = 0;

  Worker& worker(unsigned index) { return *workers_[index]; }

  void submit(Task& task) {
    accepted_.fetch_add(1, seq_cst);
    injected_.push(task);
    wake_if_needed();
  }

  void submit(Task& task, Worker& own) {
    add(own.submitted);
    own.deque.reserve();
    own.deque.push_reserved(&task);
    wake_if_needed();
  }

  // The schedulers are not likely to do it of their own accord.
  void let_all_sleep() {
    while (sleepers_.size() != workers_.size()) model::Yield()();
  }

  void shutdown() {
    accepted_.fetch_or(closed_bit, seq_cst);
    if (shutdown_wakes) wake_all();
  }

  void work(Worker& worker) {
    for (;;) {
      if (applicants_.load(relaxed) != 0 && give_place(worker)) return;
      Task* task = next(worker);
      if (task == nullptr) task = search(worker, nullptr);
      if (task != nullptr) {
        run_task(*task, worker);
      } else if (stopped_.load(acquire)) {
        return;
      }
    }
  }

  // Arms the timer, from outside.
  void arm() {
    timer_.store(true, seq_cst);
    Worker* sleeper = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (timekeeper_ != nullptr) {
        sleeper = timekeeper_;
      } else if (!sleepers_.empty()) {
        sleeper = sleepers_.back();
      }
      if (sleeper != nullptr) wake(*sleeper);
    }
    if (sleeper != nullptr) sleeper->parker.unpark();
  }

  // A thread has waited for something and wants a worker back.
  Worker& take_place() {
    {
      std::lock_guard lock(mutex_);
      applicants_.fetch_add(1, seq_cst);
      if (!sleepers_.empty()) {
        Worker* sleeper = sleepers_.back();
        wake(*sleeper);
        sleeper->parker.unpark();
      }
    }
    given_.wait(1);
    return *given_worker_;
  }

  // A task that waits and, since no thread can be had to do it, goes on working meanwhile.
  void drive(Worker& worker, const Events& until) {
    while (!until.over(1)) {
      Task* task = next(worker);
      if (task == nullptr) task = search(worker, &until);
      if (task != nullptr) run_task(*task, worker);
    }
  }

 private:
  static constexpr std::uint64_t closed_bit = std::uint64_t{1} << 63U;
  static constexpr std::uint64_t one_parked = 1;
  static constexpr std::uint64_t one_searching = std::uint64_t{1} << 32U;

  static void add(Atomic<int>& counter) { counter.store(counter.load(relaxed) + 1, release); }

  void run_task(Task& task, Worker& worker) {
    run(task, worker);
    add(worker.left);
  }

  void wake_if_needed() {
    const std::uint64_t idle = idle_.load(seq_cst);
    if (idle != 0 && idle < one_searching) wake_one();
  }

  void wake(Worker& sleeper) {
    sleepers_.erase(std::find(sleepers_.begin(), sleepers_.end(), &sleeper));
    if (timekeeper_ == &sleeper) timekeeper_ = nullptr;
    sleeper.parked = false;
    idle_.fetch_add(one_searching - one_parked, seq_cst);
  }

  void wake_one() {
    Worker* sleeper = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (sleepers_.empty()) return;
      sleeper = sleepers_.back();
      wake(*sleeper);
    }
    sleeper->parker.unpark();
  }

  void wake_all() {
    std::lock_guard lock(mutex_);
    while (!sleepers_.empty()) {
      Worker* sleeper = sleepers_.back();
      wake(*sleeper);
      sleeper->parker.unpark();
    }
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopped_.store(true, seq_cst);
    }
    wake_all();
  }

  bool drained() const {
    const std::uint64_t accepted = accepted_.load(seq_cst);
    if ((accepted & closed_bit) == 0) return false;
    int left = 0;
    for (const auto& worker : workers_) left += worker->left.load(acquire);
    int submitted = static_cast<int>(accepted & ~closed_bit);
    for (const auto& worker : workers_) submitted += worker->submitted.load(acquire);
    return left == submitted;
  }

  Task* steal(Worker& thief) {
    for (const auto& worker : workers_) {
      if (worker.get() == &thief) continue;
      if (Task* task = worker->deque.steal()) return task;
    }
    return nullptr;
  }

  bool give_place(Worker& worker) {
    std::lock_guard lock(mutex_);
    if (applicants_.load(seq_cst) == 0) return false;
    applicants_.fetch_sub(1, seq_cst);
    given_worker_ = &worker;
    given_.add();
    return true;
  }

  void advance_timer() {
    if (due_.load(seq_cst) && timer_.exchange(false, seq_cst)) fired.add();
  }

  bool timer_needs_attention() {
    if (!timer_.load(seq_cst)) return false;
    std::lock_guard lock(mutex_);
    return timekeeper_ == nullptr;
  }

  Task* next(Worker& worker) {
    if (Task* task = worker.deque.pop()) return task;
    return injected_.pop();
  }

  bool has_work() const {
    if (!injected_.empty()) return true;
    for (const auto& worker : workers_) {
      if (!worker->deque.empty()) return true;
    }
    return false;
  }

  // With `until`, gives up when that is over, and sleeps only for moments.
  Task* search(Worker& worker, const Events* until) {
    idle_.fetch_add(one_searching, seq_cst);
    Task* found = nullptr;
    for (;;) {
      if (timer_.load(seq_cst)) advance_timer();
      found = worker.deque.pop();
      if (found == nullptr) found = injected_.pop();
      if (found == nullptr) found = steal(worker);
      if (found != nullptr || stopped_.load(seq_cst) || applicants_.load(seq_cst) != 0 ||
          (until != nullptr && until->over(1))) {
        break;
      }
      bool watches_clock = false;
      {
        std::lock_guard lock(mutex_);
        sleepers_.push_back(&worker);
        worker.parked = true;
        idle_.fetch_add(one_parked - one_searching, seq_cst);
        if (timer_.load(seq_cst) && timekeeper_ == nullptr) timekeeper_ = &worker;
        watches_clock = timekeeper_ == &worker;
      }
      const bool idle = !looks_again_before_sleeping || !has_work();
      const bool over = idle && drained();
      if (idle && !over && !stopped_.load(seq_cst) && applicants_.load(seq_cst) == 0) {
        if (until != nullptr) {
          model::Yield()();
        } else if (!worker.parker.park(watches_clock)) {
          due_.store(true, seq_cst);
        }
      }
      bool woken = true;
      {
        std::lock_guard lock(mutex_);
        if (worker.parked) {
          wake(worker);
          woken = false;
        }
      }
      if (woken) worker.parker.wait_for_unpark();
      if (over) stop();
    }
    const std::uint64_t before = idle_.fetch_sub(one_searching, seq_cst);
    const bool sleepers = (before & (one_searching - 1)) != 0;
    if (last_searcher_wakes_next && (also_when_it_found_nothing || found != nullptr) && sleepers &&
        before / one_searching == 1 && (has_work() || timer_needs_attention())) {
      wake_one();
    }
    return found;
  }

  std::array<std::unique_ptr<Worker>, 2> workers_{std::make_unique<Worker>(), std::make_unique<Worker>()};
  cohort::detail::BasicInjectionQueue<Task, Atomic, model::Mutex> injected_;
  model::Atomic<std::uint64_t, IdleOrders> idle_;
  Atomic<std::uint64_t> accepted_;
  Atomic<bool> stopped_;
  Atomic<int> applicants_;
  Atomic<bool> timer_;  // pending
  Atomic<bool> due_;    // the clock has reached it
  model::Mutex mutex_;
  std::vector<Worker*> sleepers_;  // under the mutex, as each worker's `parked`
  Worker* timekeeper_ = nullptr;   // under the mutex
  Worker* given_worker_ = nullptr;
  Events given_;

 protected:
  Events fired;
};

// A task from outside, and another when it has ended: workers go to sleep between them, or are about to.
struct OneByOne final : rl::test_suite<OneByOne, 3>, Pool {
  static constexpr unsigned switches = 1;
  static constexpr rl::iteration_t executions = 30'000;

  void thread(unsigned index) {
    if (index < 2) return work(worker(index));
    for (int number = 0; number < 2; ++number) {
      submit(tasks[static_cast<std::size_t>(number)]);
      ended.wait(number + 1);
    }
    shutdown();
  }

  void run(Task&, Worker&) override { ended.add(); }

  std::array<Task, 2> tasks;
  Events ended;
};

// Two tasks from outside that wait for each other: it takes both workers.
struct Pair final : rl::test_suite<Pair, 3>, Pool {
  static constexpr unsigned switches = 1;
  static constexpr rl::iteration_t executions = 30'000;

  void thread(unsigned index) {
    if (index < 2) return work(worker(index));
    for (Task& task : tasks) submit(task);
    met.wait(2);
    shutdown();
  }

  void run(Task&, Worker&) override {
    met.add();
    met.wait(2);
  }

  std::array<Task, 2> tasks;
  Events met;
};

// A task that submits another and waits for it, blocking its worker: the other worker must take it.
struct Child final : rl::test_suite<Child, 3>, Pool {
  static constexpr unsigned switches = 1;
  static constexpr rl::iteration_t executions = 30'000;

  void thread(unsigned index) {
    if (index < 2) return work(worker(index));
    submit(parent);
    ended.wait(2);
    shutdown();
  }

  void run(Task& task, Worker& worker) override {
    if (&task == &parent) {
      submit(child, worker);
      ended.wait(1);
    }
    ended.add();
  }

  Task parent, child;
  Events ended;
};

// A task drives the pool until it is released, and then waits for another that was submitted meanwhile. Whichever
// worker has not got the first must take the second, even when its submitter counted on the first, which was
// searching.
struct Driver final : rl::test_suite<Driver, 3>, Pool {
  static constexpr rl::iteration_t executions = 60'000;

  void thread(unsigned index) {
    if (index < 2) return work(worker(index));
    submit(driver);
    started.wait(1);
    released.add();
    submit(other);
    ended.wait(2);
    shutdown();
  }

  void run(Task& task, Worker& worker) override {
    if (&task == &driver) {
      started.add();
      drive(worker, released);
      ended.wait(1);
    }
    ended.add();
  }

  Task driver, other;
  Events started, released, ended;
};

// A thread comes back from waiting, takes a worker's place and keeps it for long, while a timer is pending: the other
// worker must watch the clock.
struct Return final : rl::test_suite<Return, 3>, Pool {
  static constexpr rl::iteration_t executions = 60'000;

  void thread(unsigned index) {
    if (index < 2) return work(worker(index));
    if (rl::rand(2) == 0) let_all_sleep();
    arm();
    if (rl::rand(2) == 0) let_all_sleep();
    Worker& own = take_place();
    fired.wait(1);
    shutdown();
    work(own);
  }

  void run(Task&, Worker&) override {}
};

}  // namespace

int main() { return model::explore<Child, Driver, Return, Pair, OneByOne>(); }
