// An executor and its futures, free running on one or two workers, against a model that says which outcomes are allowed.
//
// Each byte, with those after it as its operands, does one thing: submits a task of some kind, cancels, adds a callback, drops
// a handle, waits in one of many ways, shuts down. What happens when is left to the scheduler: so the model knows, for each
// task, not one outcome but those that are possible after all that was done to it.
#include "input.hpp"

#include <cohort/cohort.hpp>
#include <cohort/detail/frame_memory.hpp>

#include <atomic>      // for atomic
#include <chrono>      // for microseconds
#include <cstddef>     // for size_t
#include <cstdint>     // for uint64_t
#include <deque>       // for deque
#include <exception>   // for exception_ptr
#include <optional>    // for optional
#include <stop_token>  // for stop_source
#include <string>      // for string
#include <utility>     // for move
#include <vector>      // for vector

using namespace cohort;
using namespace std::chrono_literals;
using fuzz::require;

namespace {

struct Failure {
  int number;
};

enum class Kind { returns, throws, sleeps, yields, nests, gated, takes_permit, sleeps_long, blocks };
constexpr std::size_t kinds = 9;

/// What the model knows of a task.
struct Entry {
  Kind kind = Kind::returns;
  int number = 0;
  AsyncFuture<int> future;  // invalid once it was dropped
  bool may_be_cancelled = false;
  bool must_be_cancelled = false;  // it cannot end in another way
  bool may_time_out = false;
  bool may_lack_executor = false;  // what it submits itself may be refused
  int callbacks_added = 0;
  std::atomic<int> callbacks_called{0};
};

template <class Pool>
class Program {
 public:
  explicit Program(fuzz::Input& input) : input_(input), executor_(std::in_place, options(1 + input.below(2))) {}

  void run() {
    for (int steps = 0; steps < 200 && !input_.empty(); ++steps) step();
    finish();
  }

 private:
  using Executor = BasicAsyncExecutor<Pool>;

  static ExecutorOptions options(std::size_t workers) {
    ExecutorOptions options;
    options.max_workers = workers;
    options.on_unhandled_exception = [](const std::exception_ptr&) {};  // of callbacks
    return options;
  }

  // -- Bodies --

  static Task<int> sleep_and_return(int number) {
    co_await sleep_for(std::chrono::microseconds(number % 50));
    co_return number;
  }
  static Task<int> wait_at(AsyncFuture<void> gate, int number) {
    co_await gate;
    co_return number;
  }
  static Task<int> take_permit(Semaphore* semaphore, int number) {
    const Permit permit = co_await semaphore->acquire();
    co_await cohort::yield();
    co_return number;
  }
  static Task<int> sleep_long(int number) {
    co_await sleep_for(1h);
    co_return number;
  }

  // -- Steps --

  void step() {
    switch (input_.below(14)) {
      case 0:
      case 1:
      case 2:
        return submit();
      case 3:
        return cancel();
      case 4:
        return add_callback();
      case 5:
        return drop();
      case 6:
        return get();
      case 7:
        return wait();
      case 8:
        return complete_some();
      case 9:
        open_gate();
        return;
      case 10:
        semaphore_.release();
        ++permits_;
        return;
      case 11:
        return look();
      case 12:
        return map();
      default:
        return shut_down();
    }
  }

  Entry* any() {
    if (entries_.empty()) return nullptr;
    Entry& entry = entries_[input_.below(entries_.size())];
    return entry.future.valid() ? &entry : nullptr;
  }

  void submit() {
    if (entries_.size() >= 40) return;
    Entry& entry = entries_.emplace_back();
    entry.kind = static_cast<Kind>(input_.below(kinds));
    entry.number = static_cast<int>(entries_.size());
    SubmitOptions options;
    const std::uint8_t how = input_.byte();
    if (how % 4 == 1) options.retries = 1, options.retry_delay = 10us;
    if (how % 4 == 2) {
      options.timeout = std::chrono::microseconds(how);
      entry.may_time_out = true;
    }
    // Those that have no end of their own end by a cancellation or a timeout.
    entry.must_be_cancelled = entry.kind == Kind::sleeps_long && !entry.may_time_out;
    const bool closed = closed_;
    try {
      entry.future = start(entry, options);
      require(!closed, "nothing is accepted after shutdown");
      ++accepted_;
    } catch (const ExecutorShutdownError&) {
      require(closed, "everything is accepted before shutdown");
      entries_.pop_back();
    }
  }

  AsyncFuture<int> start(Entry& entry, const SubmitOptions& options) {
    const int number = entry.number;
    switch (entry.kind) {
      case Kind::returns: {
        auto body = [number] { return number; };
        return executor_->submit(options, body);
      }
      case Kind::throws: {
        auto body = [number]() -> int { throw Failure{number}; };
        return executor_->submit(options, body);
      }
      case Kind::sleeps:
        return executor_->submit(options, &Program::sleep_and_return, number);
      case Kind::yields: {
        auto body = [number]() -> Task<int> {
          for (int i = 0; i < number % 5; ++i) co_await cohort::yield();
          co_return number;
        };
        return executor_->submit(options, body);
      }
      case Kind::nests: {
        entry.may_lack_executor = true;
        auto body = [this, number]() -> Task<int> {
          AsyncFuture<int> inner = executor_->submit(&Program::sleep_and_return, number);
          ++accepted_;
          const int value = co_await std::move(inner);
          co_return value;
        };
        return executor_->submit(options, body);
      }
      case Kind::gated:
        return executor_->submit(options, &Program::wait_at, gates_.back().get_future(), number);
      case Kind::takes_permit:
        return executor_->submit(options, &Program::take_permit, &semaphore_, number);
      case Kind::sleeps_long:
        return executor_->submit(options, &Program::sleep_long, number);
      case Kind::blocks:
        break;
    }
    entry.may_lack_executor = true;
    auto body = [this, number] {
      auto inner = [number] { return number; };
      AsyncFuture<int> future = executor_->submit(inner);
      ++accepted_;
      AsyncFuture<int> slow = executor_->submit(&Program::sleep_and_return, number);
      ++accepted_;
      return future.get() + slow.get() - number;
    };
    return executor_->submit(options, body);
  }

  void cancel() {
    Entry* entry = any();
    if (entry == nullptr) return;
    const bool was_done = entry->future.done();
    if (input_.byte() % 4 == 0) {
      std::stop_source source;
      entry->future.cancel_when(source.get_token());
      entry->may_be_cancelled = true;
      source.request_stop();
      return;
    }
    entry->may_be_cancelled = entry->may_be_cancelled || !was_done;
    const bool asked = entry->future.cancel();
    require(!(was_done && asked), "what is done cannot be cancelled");
    require(asked || entry->future.done() || entry->may_be_cancelled, "what cannot be cancelled is done");
    if (entry->future.done()) require(!entry->future.cancel(), "done is done, for ever");
  }

  void drop() {
    Entry* const entry = any();
    // What sleeps for an hour is kept, to be cancelled at the end.
    if (entry == nullptr || entry->kind == Kind::sleeps_long) return;
    const AsyncFuture<int> dropped = std::move(entry->future);
  }

  void add_callback() {
    Entry* entry = any();
    if (entry == nullptr) return;
    ++entry->callbacks_added;
    const bool throws = input_.byte() % 8 == 0;
    entry->future.add_done_callback([entry, throws](AsyncFuture<int> done) {
      require(done.done(), "a callback is called when its future is done");
      ++entry->callbacks_called;
      { const AsyncFuture<int> dropped = std::move(done); }
      if (throws) throw Failure{0};
    });
  }

  /// Whether it ends without anything more from us.
  [[nodiscard]] static bool ends_by_itself(const Entry& entry) {
    return entry.kind != Kind::gated && entry.kind != Kind::takes_permit && entry.kind != Kind::sleeps_long;
  }

  void get() {
    Entry* entry = any();
    if (entry == nullptr) return;
    const std::uint8_t how = input_.byte();
    if (how % 2 == 0 && ends_by_itself(*entry)) {
      entry->future.wait();
      require(entry->future.done(), "what was waited for is done");
      check(*entry);
      return;
    }
    const bool done = entry->future.wait_for(std::chrono::microseconds(how % 3 == 0 ? 0 : how));
    require(!done || entry->future.done(), "wait_for tells the truth");
    if (done) check(*entry);
  }

  std::vector<AsyncFuture<int>> some() {
    std::vector<AsyncFuture<int>> futures;
    const std::size_t count = input_.below(6);
    for (std::size_t i = 0; i < count; ++i) {
      if (const Entry* entry = any()) futures.push_back(entry->future);
    }
    return futures;
  }

  void wait() {
    const std::vector<AsyncFuture<int>> futures = some();
    const auto strategy = static_cast<WaitStrategy>(input_.below(3));
    const std::uint8_t timeout = input_.byte();
    std::size_t distinct = 0;
    for (std::size_t i = 0; i < futures.size(); ++i) {
      std::size_t before = 0;
      while (!(futures[before] == futures[i])) ++before;
      if (before == i) ++distinct;
    }
    try {
      const WaitResult<int> result = sync_wait(cohort::wait(
          futures, WaitOptions{.timeout = std::chrono::microseconds(timeout % 100), .return_when = strategy}));
      require(result.done.size() + result.not_done.size() == distinct, "wait loses no future, and doubles none");
      for (const AsyncFuture<int>& future : result.done) require(future.done(), "what wait says is done is done");
      if (strategy == WaitStrategy::all_completed) require(result.not_done.empty(), "all means all");
    } catch (const TimeoutError&) {
      require(strategy == WaitStrategy::all_completed, "only waiting for all throws TimeoutError");
    }
  }

  void complete_some() {
    const std::vector<AsyncFuture<int>> futures = some();
    std::size_t left = input_.below(4);
    // Whatever is left when the stream is destroyed is cancelled.
    for (Entry& entry : entries_) {
      for (const AsyncFuture<int>& future : futures) {
        if (entry.future.valid() && entry.future == future) entry.may_be_cancelled = true;
      }
    }
    try {
      for (const AsyncFuture<int>& future : as_completed(futures, std::chrono::microseconds(input_.byte()))) {
        require(future.done(), "a completed future is done");
        if (left-- == 0) break;
      }
    } catch (const TimeoutError&) {
    }
  }

  void open_gate() {
    gates_.back().set_result();
    gates_.emplace_back();
  }

  void look() {
    const ExecutorStats stats = executor_->stats();
    require(stats.succeeded + stats.failed + stats.cancelled <= stats.submitted, "no more end than were submitted");
    for (const Entry& entry : entries_) {
      if (!entry.future.valid()) continue;
      const bool was_done = entry.future.done();
      const bool cancelled = entry.future.cancelled();
      require(!cancelled || entry.future.done(), "what is cancelled is done");
      require(!was_done || entry.future.done(), "done is done, for ever");
      require(!was_done || !entry.future.running(), "what is done does not run");
      if (was_done) check(entry);
    }
  }

  void map() {
    const std::size_t count = input_.below(20);
    std::vector<int> elements;
    for (std::size_t i = 0; i < count; ++i) elements.push_back(static_cast<int>(i));
    const std::size_t taken = input_.below(24);
    const bool closed = closed_;
    try {
      const MapOptions options{.max_concurrency = 1 + input_.below(3),
                               .buffer_size = 1 + input_.below(8),
                               .chunk_size = 1 + input_.below(3)};
      auto stream = executor_->map(options, &Program::sleep_and_return, elements);
      require(!closed, "nothing is mapped after shutdown");
      map_used_ = true;
      std::size_t next = 0;
      for (const int value : stream) {
        require(value == static_cast<int>(next), "map gives every result, in the order of the input");
        if (++next == taken) break;
      }
      require(next == std::min(std::max(taken, std::size_t{0}), count) || taken == 0, "map ends where its input ends");
    } catch (const ExecutorShutdownError&) {
      require(closed, "map works before shutdown");
    }
  }

  void shut_down() {
    const std::uint8_t how = input_.byte();
    if (how % 4 != 0) return;  // not too often, or all that follows is refused
    closed_ = true;
    const bool cancels = how % 8 == 0;
    if (cancels) {
      for (Entry& entry : entries_) entry.may_be_cancelled = true;
      all_may_be_cancelled_ = true;
    }
    executor_->shutdown(ShutdownOptions{.wait = false, .cancel_futures = cancels});
  }

  // -- Afterwards --

  void check(const Entry& entry) const {
    const AsyncFuture<int>& future = entry.future;
    const bool may_be_cancelled = entry.may_be_cancelled || (entry.may_lack_executor && all_may_be_cancelled_);
    require(future.done(), "a task ends");
    if (future.cancelled()) {
      require(may_be_cancelled, "nothing is cancelled that nobody cancelled");
      return;
    }
    const std::exception_ptr error = future.exception();
    if (error == nullptr) {
      require(entry.kind != Kind::throws && !entry.must_be_cancelled, "a task that throws has no value");
      require(future.get() == entry.number, "a task has its own value");
      return;
    }
    try {
      std::rethrow_exception(error);
    } catch (const Failure& failure) {
      require(entry.kind == Kind::throws && failure.number == entry.number, "a task fails with its own exception");
    } catch (const TimeoutError&) {
      require(entry.may_time_out, "nothing times out that has no timeout");
    } catch (const ExecutorShutdownError&) {
      require(entry.may_lack_executor && closed_, "only what submits itself is told of the shutdown");
    } catch (...) {
      require(false, "a task fails with what it threw");
    }
  }

  void finish() {
    for (Entry& entry : entries_) {
      if (entry.kind != Kind::sleeps_long) continue;
      entry.may_be_cancelled = true;
      entry.future.cancel();
    }
    for (AsyncPromise<void>& gate : gates_) {
      try {
        gate.set_result();
      } catch (const InvalidStateError&) {  // opened before
      }
    }
    for (std::size_t i = 0; i < entries_.size() + 1; ++i) semaphore_.release();
    permits_ += static_cast<int>(entries_.size()) + 1;
    closed_ = true;
    executor_->shutdown();
    for (const Entry& entry : entries_) {
      if (entry.future.valid()) check(entry);
      require(entry.callbacks_called == entry.callbacks_added, "each callback is called once");
    }
    const ExecutorStats stats = executor_->stats();
    require(stats.pending == 0 && stats.running == 0, "nothing is left after shutdown");
    require(stats.succeeded + stats.failed + stats.cancelled == stats.submitted, "every task ends once");
    if (!map_used_) require(stats.submitted == static_cast<std::uint64_t>(accepted_), "what is accepted is submitted");
    int permits = 0;
    while (semaphore_.try_acquire()) ++permits;
    require(permits == permits_, "no permit is lost, and none is made");
    if (input_.byte() % 2 == 0) entries_.clear();
    executor_.reset();
    entries_.clear();
    gates_.clear();
  }

  fuzz::Input& input_;
  std::deque<Entry> entries_;
  std::deque<AsyncPromise<void>> gates_ = std::deque<AsyncPromise<void>>(1);
  Semaphore semaphore_{0};
  int permits_ = 0;
  std::atomic<int> accepted_{0};
  bool closed_ = false;
  bool all_may_be_cancelled_ = false;
  bool map_used_ = false;
  std::optional<Executor> executor_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  Program<ThreadPool>(input).run();
  require(detail::live_frames() == 0, "no frame is left");
  return 0;
}
