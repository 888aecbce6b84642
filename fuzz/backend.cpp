// The uids of a backend's tasks, which are functions: who is live, who was, and what callbacks are told.
#include "input.hpp"

#include <cohort/cohort.hpp>
#include <cohort/detail/frame_memory.hpp>

#include <array>      // for array
#include <atomic>     // for atomic
#include <chrono>     // for microseconds
#include <cstddef>    // for size_t
#include <cstdint>    // for uint8_t
#include <deque>      // for deque
#include <map>        // for map
#include <mutex>      // for mutex
#include <optional>   // for optional
#include <stdexcept>  // for invalid_argument
#include <string>     // for string
#include <utility>    // for move
#include <vector>     // for vector

using namespace cohort;
using namespace std::chrono_literals;
using fuzz::require;

namespace {

enum class Kind { returns, throws, sleeps, gated, stubborn };
constexpr std::size_t kinds = 5;

/// What one callback is told of one task, by its submission.
struct Told {
  int running = 0;
  int terminal = 0;
  TaskState last = TaskState::pending;
};

/// What the model knows of a task.
struct Entry {
  std::string uid;
  Kind kind = Kind::returns;
  std::string submission;  // in its metadata: uids come again
  AsyncFuture<TaskResult> future;
  bool cancelled = false;     // somebody asked
  bool open = false;          // its gate is
  std::size_t callbacks = 0;  // registered before it was submitted
};

class Program {
 public:
  explicit Program(fuzz::Input& input) : input_(input) {
    executor_.emplace(ExecutorOptions{.max_workers = 1 + input.below(2)});
    backend_.emplace(*executor_, BackendOptions{.history_limit = input.below(4)});
  }

  void run() {
    for (int steps = 0; steps < 100 && !input_.empty(); ++steps) step();
    finish();
  }

 private:
  static constexpr std::array<const char*, 4> uids{"a", "b", "a task with a longer name", ""};

  void step() {
    switch (input_.below(8)) {
      case 0:
      case 1:
        return submit();
      case 2:
        return cancel();
      case 3:
        return look();
      case 4:
        return wait();
      case 5:
        return open_gates();
      case 6:
        if (told_.size() < 4) register_callback();
        return;
      default:
        if (input_.byte() % 8 == 0)
          shut_down();
        else if (input_.byte() % 8 == 0)
          cancel_all();
    }
  }

  void register_callback() {
    const std::size_t number = told_.size();
    told_.emplace_back();
    const bool throws = input_.byte() % 4 == 0;
    backend_->register_callback([this, number, throws](const TaskResult& result, TaskState state) {
      {
        const std::lock_guard lock(mutex_);
        Told& told = told_[number][result.metadata.at("submission")];
        require(told.terminal == 0, "nothing comes after the end");
        require(state == TaskState::running || state >= TaskState::done, "no task becomes pending");
        if (state == TaskState::running) {
          require(told.running == 0, "a task starts once");
          ++told.running;
        } else {
          ++told.terminal;
        }
        require(result.state == state, "the result has the state that is told");
        told.last = state;
      }
      if (throws) throw 7;
    });
  }

  /// Whether a task is certainly live, or certainly not; nothing when nobody can say.
  static std::optional<bool> is_live(const Entry& entry) {
    if (entry.future.done() && !entry.cancelled) return false;
    if (entry.kind == Kind::gated && !entry.open && !entry.cancelled) return true;
    return std::nullopt;
  }

  void submit() {
    if (entries_.size() > 60) return;
    std::vector<TaskDescription> batch;
    std::vector<Entry> added;
    bool must_fail = false, may_fail = false;
    const std::size_t count = 1 + input_.below(3);
    for (std::size_t i = 0; i < count; ++i) {
      Entry entry;
      entry.uid = uids[input_.below(uids.size())];
      entry.kind = static_cast<Kind>(input_.below(kinds));
      entry.submission = std::to_string(submissions_++);
      entry.callbacks = told_.size();
      if (!entry.uid.empty()) {
        for (const Entry& other : added) must_fail = must_fail || other.uid == entry.uid;
        for (const Entry& other : entries_) {
          if (other.uid != entry.uid) continue;
          const std::optional<bool> live = is_live(other);
          must_fail = must_fail || live == true;
          may_fail = may_fail || live != false;
        }
      }
      batch.emplace_back(entry.uid, function(entry));
      batch.back().metadata["submission"] = entry.submission;
      if (input_.byte() % 4 == 0) batch.back().options.retries = 1, batch.back().options.retry_delay = 0s;
      added.push_back(std::move(entry));
    }
    try {
      std::vector<AsyncFuture<TaskResult>> futures = backend_->submit_tasks(std::move(batch));
      require(!must_fail, "no uid is live twice");
      require(!closed_, "nothing is accepted after shutdown");
      require(futures.size() == added.size(), "each task has its future");
      for (std::size_t i = 0; i < added.size(); ++i) {
        added[i].future = futures[i];
        entries_.push_back(std::move(added[i]));
      }
    } catch (const std::invalid_argument&) {
      require(must_fail || may_fail, "a uid that is free can be used");
    } catch (const ExecutorShutdownError&) {
      require(closed_, "everything is accepted before shutdown");
    }
  }

  FunctionTask function(const Entry& entry) {
    switch (entry.kind) {
      case Kind::returns:
        return FunctionTask([] { return 42; });
      case Kind::throws:
        return FunctionTask([]() -> int { throw 7; });
      case Kind::sleeps:
        return FunctionTask([]() -> Task<> { co_await sleep_for(20us); });
      case Kind::gated:
        return FunctionTask(
            [](AsyncFuture<void> gate) -> Task<int> {
              co_await gate;
              co_return 42;
            },
            gate_->get_future());
      case Kind::stubborn:
        break;
    }
    // Asked to stop, it ends well all the same.
    return FunctionTask([]() -> Task<int> {
      try {
        co_await sleep_for(20us);
      } catch (const CancelledError&) {
      }
      co_return 42;
    });
  }

  void cancel() {
    if (entries_.empty()) return;
    Entry& chosen = entries_[input_.below(entries_.size())];
    if (input_.byte() % 4 == 0) {
      chosen.cancelled = chosen.cancelled || !chosen.future.done();
      chosen.future.cancel();
      return;
    }
    const std::string uid = chosen.uid;
    if (uid.empty()) return;
    bool live = false, done = true;
    for (Entry& entry : entries_) {
      if (entry.uid != uid) continue;
      const std::optional<bool> known = is_live(entry);
      live = live || known == true;
      done = done && known == false;
      if (known != false) entry.cancelled = true;
    }
    const bool asked = backend_->cancel_task(uid);
    if (live) require(asked, "a live task can be cancelled");
    if (done) require(!asked, "a task that has ended cannot be cancelled");
    require(!backend_->cancel_task("nobody"), "who is unknown cannot be cancelled");
  }

  void cancel_all() {
    std::size_t live = 0, maybe = 0;
    for (Entry& entry : entries_) {
      const std::optional<bool> known = is_live(entry);
      if (known == true) ++live;
      if (known != false) ++maybe, entry.cancelled = true;
    }
    const std::size_t asked = backend_->cancel_all_tasks();
    require(asked >= live && asked <= maybe, "cancel_all_tasks counts those that it asks");
  }

  void look() {
    const BackendState state = backend_->state();
    require((state == BackendState::shutdown) == closed_, "a backend is shut down when it was shut down");
    require(!backend_->task_state("nobody"), "who is unknown has no state");
    for (const Entry& entry : entries_) {
      if (entry.uid.empty() || is_live(entry) != true) continue;
      const std::optional<TaskState> known = backend_->task_state(entry.uid);
      require(known == TaskState::pending || known == TaskState::running, "a live task is pending or running");
    }
  }

  void wait() {
    if (entries_.empty()) return;
    const Entry& entry = entries_[input_.below(entries_.size())];
    if (entry.kind == Kind::gated && !entry.open && !entry.cancelled) return;
    entry.future.wait();
    check(entry);
  }

  void open_gates() {
    for (Entry& entry : entries_) entry.open = true;
    gate_->set_result();
    gate_.emplace();
  }

  void shut_down() {
    for (Entry& entry : entries_)
      if (is_live(entry) != false) entry.cancelled = true;
    closed_ = true;
    backend_->shutdown();
    for (const Entry& entry : entries_) require(entry.future.done(), "after shutdown every task has ended");
  }

  void check(const Entry& entry) const {
    require(entry.future.done(), "a task ends");
    if (entry.future.cancelled()) {
      require(entry.cancelled, "no result is cancelled that nobody cancelled");
      return;
    }
    const TaskResult& result = entry.future.get();
    require(entry.uid.empty() ? !result.uid.empty() : result.uid == entry.uid, "a result has its uid");
    switch (result.state) {
      case TaskState::done:
        require(entry.kind != Kind::throws, "what throws is not done");
        return;
      case TaskState::failed:
        require(entry.kind == Kind::throws, "only what throws fails");
        return;
      case TaskState::canceled:
        require(entry.cancelled, "nothing is canceled that nobody cancelled");
        return;
      default:
        require(false, "a result has a terminal state");
    }
  }

  void finish() {
    open_gates();
    if (input_.byte() % 2 == 0) {
      for (const Entry& entry : entries_) entry.future.wait();
    } else {
      for (Entry& entry : entries_) entry.cancelled = true;
    }
    backend_.reset();
    for (const Entry& entry : entries_) {
      check(entry);
      for (std::size_t i = 0; i < entry.callbacks; ++i) {
        const Told& told = told_[i][entry.submission];
        require(told.terminal == 1, "each task is told to have ended, once");
        require(told.running == 1 || told.last == TaskState::canceled, "what ended by itself had started");
        if (!entry.future.cancelled())
          require(told.last == entry.future.get().state, "what is told is what the result says");
      }
    }
    executor_->shutdown();
    const ExecutorStats stats = executor_->stats();
    require(stats.succeeded + stats.failed + stats.cancelled == stats.submitted, "every task ends once");
    executor_.reset();
    entries_.clear();
    gate_.reset();
  }

  fuzz::Input& input_;
  std::mutex mutex_;
  std::deque<std::map<std::string, Told>> told_;  // by callback, by submission; under the mutex while tasks run
  std::deque<Entry> entries_;
  std::optional<AsyncPromise<void>> gate_{std::in_place};
  int submissions_ = 0;
  bool closed_ = false;
  std::optional<AsyncExecutor> executor_;
  std::optional<ConcurrentExecutionBackend> backend_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  Program(input).run();
  require(detail::live_frames() == 0, "no frame is left");
  return 0;
}
