#pragma once

#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/thread_context.hpp>
#include <cohort/detail/timer.hpp>

#include <atomic>       // for std::memory_order
#include <coroutine>    // for std::coroutine_handle
#include <cstdint>      // for std::uint8_t
#include <type_traits>  // for std::is_standard_layout_v

namespace cohort::detail {

/// Why a suspended coroutine goes on.
enum class Wake : std::uint8_t { none, ready, stopped, timed_out };

/// A coroutine that waits for the first of several things: what it awaits, a stop of its task, a deadline.
///
/// It lives in the frame of the coroutine that waits. Each thing that may wake it is a *source* and holds one count of
/// `pending_`, which it has from the Registration, which holds the others. The first source to claim() decides why the
/// coroutine goes on, and takes the others out of where they are registered. Every source either is taken out or fires
/// exactly once, and gives up its count either way; whoever gives up the last count resumes the coroutine. So nothing
/// points into the frame once it runs again, and nobody ever waits for a callback in flight.
class Suspension : Timer {
  static void go_on(Node& node) noexcept;
  static void fire_stop(Node& node) noexcept;
  static void fire_time(Node& node) noexcept;
  static void describe_wait(const Node& node, ScopeReport& report) noexcept;

 public:
  /// The kind of thing that is awaited.
  struct Awaited {
    /// What waits for it as a node. First: its address is that of the whole.
    Node::Kind node{.run = &go_on, .stop = &fire_stop, .describe = &describe_wait, .time_out = &fire_time};
    /// Takes its registration back: true when it will not fire any more. Called by whoever claimed; null when there is
    /// nothing to take back.
    bool (*remove)(Suspension&) noexcept = nullptr;
    /// Says what it is; null: nobody knows.
    WaitsFor (*waits_for)(const Suspension&) noexcept = nullptr;
  };

  /// For a coroutine of `task`, null for a stranger's; until `deadline` at the latest.
  explicit Suspension(StateBase* task, TimePoint deadline = TimePoint::max()) noexcept
      : Timer(deadline), of_task_(task != nullptr), task_(task) {}

  /// The task whose coroutine waits, or null.
  [[nodiscard]] StateBase* task() const noexcept { return of_task_ ? task_ : nullptr; }
  /// Until when it waits; max() when for ever.
  [[nodiscard]] TimePoint deadline() const noexcept { return time; }

  /// By a source: true for the first, which must then call settle(); the others just release().
  [[nodiscard]] bool claim(Wake reason) noexcept;
  /// By the source that claimed: takes the other sources out, and gives up its own count.
  void settle() noexcept;
  /// By a source that lost: gives up its count.
  void release(unsigned count = 1) noexcept;
  void fire(Wake reason) noexcept { claim(reason) ? settle() : release(); }

  /// Why the coroutine went on; after it has.
  [[nodiscard]] Wake reason() const noexcept {
    return reason_.load(std::memory_order_relaxed);
  }  // relaxed: resumed after

  class Registration;

 private:
  // What a task is cancelled with, and where it runs, do not change while it is suspended.
  [[nodiscard]] Scope* scope() const noexcept { return of_task_ ? task_->scope : nullptr; }
  [[nodiscard]] Scheduler* scheduler() const noexcept { return of_task_ ? task_->scheduler : StopNode::scheduler; }
  [[nodiscard]] std::coroutine_handle<> coroutine() const noexcept { return of_task_ ? task_->frame() : stranger_; }
  [[nodiscard]] bool timed() const noexcept { return time != TimePoint::max(); }
  [[nodiscard]] const Awaited& awaited() const noexcept {
    static_assert(std::is_standard_layout_v<Awaited>);
    return *reinterpret_cast<const Awaited*>(kind);
  }
  unsigned remove_sources() noexcept;
  [[gnu::noinline]] unsigned remove_awaited_and_timer(Wake claimer) noexcept;
  [[nodiscard]] bool give_up(unsigned count) noexcept;
  void resume() noexcept;

  // In the room that a Timer leaves: a million may wait at a time.
  sync::atomic<std::uint8_t> pending_{0};
  sync::atomic<Wake> reason_{Wake::none};  // claimed by compare-exchange
  bool of_task_;
  union {
    StateBase* task_;
    std::coroutine_handle<> stranger_;  // a stranger's coroutine, since begin(); its scheduler is the StopNode's
  };
};

/// The registration of a suspension with all that may wake it, inside `await_suspend`.
class Suspension::Registration {
 public:
  /// Begins it, for the coroutine `handle`.
  Registration(Suspension& suspension, std::coroutine_handle<> handle, const Awaited& awaited) noexcept;

  /// Gives a count to the awaited thing, before it is registered; pairs with fire() or a successful removal.
  void add_source() noexcept { --counts_; }

  /// Also wakes when the task is asked to stop.
  void watch_stop() noexcept;
  /// Also wakes when its deadline has passed, if it has one. Needs a scheduler.
  void watch_deadline() noexcept;

  /// Ends registration: false when the coroutine is to go on at once. After true nothing of the awaiter may be touched.
  [[nodiscard]] bool finish() noexcept;

  /// Ends registration of a coroutine that has been suspended for some time: resumes it if it is to go on.
  void finish_detached() noexcept;

 private:
  // What it awaits, the end of that, a stop and a deadline are the most that there is; and one is the registration's own.
  static constexpr std::uint8_t all_counts = 5;

  Suspension* suspension_;
  unsigned counts_ = all_counts;  // not given to a source
};

/// Continues a coroutine that waits for nothing but its turn. It lives in that coroutine's frame.
struct Resumption : Node {
  /// The coroutine `handle` of `task`, null for a stranger's.
  void prepare(std::coroutine_handle<> handle, StateBase* task) noexcept;

  std::coroutine_handle<> coroutine;
  const Scope* scope = nullptr;
};

/// A wait for a future that runs the awaited task on the waiting coroutine's own stack: popped from the worker's deque,
/// where it lay on top, and continued into like a child. It becomes a real wait when something on that stack suspends.
///
/// Lives in the awaiting coroutine's frame; only touched by the thread that runs it, and linked there.
struct InlineAwait {
  /// Registers it as a wait. It may be gone on return.
  void detach() noexcept;

  /// Makes what it awaits a root that does not run on its stack.
  void disown() noexcept {
    if (adopted) task->role = Role::root;
    adopted = false;
  }

  /// Whether the awaiter's is the only handle of the awaited root, which is in no queue any more: others get at it through
  /// that handle or not at all.
  [[nodiscard]] bool only_awaiter_knows() const noexcept {
    // seq_cst: sees the doings of handles that are gone, as in StateBase::drop()
    return task->references.load(std::memory_order_seq_cst) == StateBase::one_handle + StateBase::one_owner;
  }

  /// It is over, and its parent goes on: first of all, since what is destroyed after may start what suspends.
  void leave() const noexcept {
    ThreadContext& context = thread_context();
    context.inline_awaits = previous;
    context.current = parent->scope;
  }

  InlineAwait* previous = nullptr;  // the await below this one on the stack
  StateBase* task;                  // the awaited root
  StateBase* parent;                // the task that awaits it; null for a stranger's coroutine, which waits
  bool adopted = false;             // nobody else knew the awaited root: it runs as a child does, until it suspends
};

/// Where an adopted task, which has come to its end, goes on: in the one who awaits it.
[[nodiscard]] inline std::coroutine_handle<> adopter() noexcept {
  return thread_context().inline_awaits->parent->frame();  // the innermost: what ran above it is over
}

/// Turns the awaits whose tasks run on this stack into registered ones: something above them is about to suspend.
void detach_inline_awaits(ThreadContext& context) noexcept;

inline void suspending() noexcept {
  ThreadContext& context = thread_context();
  if (context.inline_awaits != nullptr) [[unlikely]]
    detach_inline_awaits(context);
}

/// Whether the task whose coroutine this is has been asked to stop; a stranger's coroutine, null, never is.
[[nodiscard]] inline bool asked_to_stop(const StateBase* task) noexcept {
  return task != nullptr && task->scope != nullptr && task->scope->stop_requested();
}

// Inline, what every wait goes through.

inline bool Suspension::claim(Wake reason) noexcept {
  Wake none = Wake::none;
  // Before the look for the other sources: see Registration::finish(). relaxed: who comes too late just goes.
  return reason_.compare_exchange_strong(none, reason, std::memory_order_seq_cst, std::memory_order_relaxed);
}

// True for whoever gives up the last: that one sees what all others did, and nobody else touches this any more.
inline bool Suspension::give_up(unsigned count) noexcept {
  return pending_.load(std::memory_order_seq_cst) == count ||
         pending_.fetch_sub(static_cast<std::uint8_t>(count), std::memory_order_seq_cst) == count;
}

inline Suspension::Registration::Registration(Suspension& suspension, std::coroutine_handle<> handle,
                                              const Awaited& awaited) noexcept
    : suspension_(&suspension) {
  suspending();
  suspension.kind = &awaited.node;
  if (!suspension.of_task_) {
    suspension.stranger_ = handle;
    suspension.StopNode::scheduler = thread_context().scheduler;
  }
  suspension.pending_.store(all_counts, std::memory_order_relaxed);  // relaxed: not registered anywhere yet
}

inline void Suspension::Registration::watch_stop() noexcept {
  Scope* const stopped_with = suspension_->scope();
  if (stopped_with == nullptr) return;
  add_source();
  if (!stopped_with->add(*suspension_)) suspension_->fire(Wake::stopped);
}

inline void Suspension::Registration::watch_deadline() noexcept {
  if (!suspension_->timed()) return;
  add_source();
  suspension_->scheduler()->arm(*suspension_);
}

inline bool Suspension::Registration::finish() noexcept {
  // After the registrations: of a source that claims and one that registers, one sees the other. A source that claims later
  // removes the others itself; they are all registered by now.
  if (suspension_->reason_.load(std::memory_order_seq_cst) != Wake::none) counts_ += suspension_->remove_sources();
  return !suspension_->give_up(counts_);
}

/// The error for a wake-up that brought no result; nothing for `ready`.
void throw_unless_ready(Wake reason, const char* timed_out);

}  // namespace cohort::detail
