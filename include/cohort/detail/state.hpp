#pragma once

#include <cohort/detail/flagged_list.hpp>
#include <cohort/detail/frame_memory.hpp>
#include <cohort/detail/node.hpp>
#include <cohort/detail/outcome.hpp>
#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/scope.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/errors.hpp>

#include <atomic>       // for std::memory_order
#include <coroutine>    // for std::coroutine_handle
#include <cstddef>      // for std::size_t, std::byte
#include <cstdint>      // for std::uint64_t
#include <exception>    // for std::exception_ptr
#include <memory>       // for std::addressof, std::construct_at
#include <new>          // for operator new, std::launder
#include <type_traits>  // for std::is_reference_v, std::conditional_t
#include <utility>      // for std::forward

namespace cohort::detail {

/// What a task is to those around it: who is told when it ends.
enum class Role : std::uint8_t {
  created,     // its frame is being made: if that fails, the memory goes with it
  child,       // of the coroutine that awaits it; or not started yet
  child_away,  // the same, on another scheduler than its parent's
  root,        // of a future: submitted to an executor, or the result of a promise
  adopted,     // a root that runs as the child of the one who awaits it: see InlineAwait
  branch,      // of a Latch: one of several that run at once
};

/// Something to be told, once, when a future is done. May be destroyed by being told.
struct alignas(16) Waiter : FlaggedLink<Waiter> {
  void (*notify)(Waiter&) noexcept = nullptr;
};

struct InlineAwait;
class Latch;
struct StateBase;

/// What stands behind the state of a task that is a plain call, where a coroutine has its frame.
struct PlainCall {
  enum class Do : bool { call, destroy };
  /// Calls, and leaves result and outcome in the state; or destroys the callable and its arguments.
  void (*act)(StateBase& task, Do what) noexcept;
};

/// The shared state of one task, which stands before its coroutine frame in the same block of memory:
///
///     [ result slot ][ StateBase ][ coroutine frame, or PlainCall ]
///
/// so that a submitted task is one allocation, its frame is found from its state and the other way round by adding a
/// constant, and the frame with its arguments can be destroyed as soon as the task ends, while the result lives on for
/// as long as somebody has a handle. The state of a promise has no frame.
///
/// Written by the creator until the task is submitted or awaited, then by whoever runs it, until `waiters` is closed;
/// from then on it does not change, but for `outcome` going from `value` to `moved`. As a node it starts a root or a
/// branch, and later continues the parent of a child.
struct alignas(frame_alignment) StateBase : Node {
  static constexpr std::uint64_t one_handle = 1;
  static constexpr std::uint64_t one_owner = std::uint64_t{1} << 32U;
  static constexpr std::uint64_t handle_mask = one_owner - 1;

  StateBase(const Kind& type, std::size_t size) noexcept
      : frame_class(static_cast<std::uint8_t>(FrameCache::class_of(size))) {
    kind = &type;
  }
  StateBase(const StateBase&) = delete;
  StateBase& operator=(const StateBase&) = delete;
  ~StateBase() {}  // see end()

  /// Destroys what is left of it, and gives its block back.
  void end() noexcept { kind->end(*this); }

  [[nodiscard]] std::coroutine_handle<> frame() noexcept { return std::coroutine_handle<>::from_address(this + 1); }
  [[nodiscard]] PlainCall& call() noexcept { return *std::launder(reinterpret_cast<PlainCall*>(this + 1)); }
  /// Destroys what is to run, before it has begun or after it has come to its end.
  void destroy_body() noexcept { is_call ? call().act(*this, PlainCall::Do::destroy) : frame().destroy(); }
  /// The same, at its end.
  void destroy_ended_body() noexcept {
    if (!arguments_trivial) destroy_body();  // for a coroutine a fifth of what its call costs, to do nothing
  }
  static StateBase& of(void* frame) noexcept { return *(static_cast<StateBase*>(untraceable(frame)) - 1); }

  /// The same address, from where the compiler cannot tell. Clang takes a frame for an object of its own: it would move it
  /// into its caller's frame, and holds that nothing stands in front of it.
  static void* untraceable(void* address) noexcept {
#if defined(__clang__)
    asm("" : "+r"(address));
#endif
    return address;
  }

  /// Root: whether whoever waits for it may start it; then it is counted by nothing but WorkerCounters when it runs on a
  /// worker of its home.
  [[nodiscard]] bool starts_in_place() const noexcept { return submitter != in_turn; }
  /// Root: whether a worker has submitted it, and another than this one of the same pool.
  [[nodiscard]] bool stolen_by(std::uint16_t worker) const noexcept {
    return submitter != worker && submitter < in_turn;
  }

  [[nodiscard]] bool done() const noexcept { return waiters.has(FlaggedList<Waiter>::closed); }

  void add_handle() noexcept {
    references.fetch_add(one_handle, std::memory_order_relaxed);  // relaxed: made from a handle, which keeps the state
  }
  void add_owner() noexcept {
    references.fetch_add(one_owner, std::memory_order_relaxed);  // relaxed: made under a handle or an owner
  }
  void drop(std::uint64_t reference) noexcept {
    // When we are the last, everything the others did with the state has happened.
    if (references.load(std::memory_order_seq_cst) == reference ||
        references.fetch_sub(reference, std::memory_order_seq_cst) == reference) {
      end();
    }
  }
  [[nodiscard]] bool last_handle() const noexcept {
    return (references.load(std::memory_order_seq_cst) & handle_mask) == one_handle;
  }

  // Closed: done; closing it publishes outcome, result and error. Its mark says nothing.
  FlaggedList<Waiter> waiters{FlaggedList<Waiter>::marked};
  sync::atomic<std::uint64_t> references{
      0};           // handles in the low half; in the high half those who run or queue the task
  Scope own_scope;  // a root's or branch's own, when it is cancelled by itself
  // Not set until it becomes a child, a root or a branch, as far as that has it: this is made for every call of a
  // coroutine.
  union {
    Scope* scope;              // until it has ended: what it is cancelled with, own_scope or its parent's
    std::exception_ptr error;  // what it ended with, when its outcome is exception or cancelled
  };
  Scheduler* scheduler;  // where it runs now
  union {
    std::coroutine_handle<> continuation;  // child: its parent
    Scheduler* home;                       // root, also adopted: where it was submitted; null for a promise's
    Latch* latch;                          // branch
  };
  union {
    std::uint64_t sequence_id;       // root: its submission number. Branch: its index, and what it is charged with
    Scheduler* strangers_scheduler;  // child of a stranger's coroutine: where that runs; null outside any
  };
  std::uint8_t frame_class;  // of the block
  sync::atomic<Outcome> outcome{Outcome::pending};
  // Root: the index of the worker that submitted it, or one of these two: nobody who waits for it may start it, or it
  // came from outside.
  static constexpr std::uint16_t in_turn = 0xfffe;
  static constexpr std::uint16_t from_outside = 0xffff;
  std::uint16_t submitter = in_turn;
  Role role = Role::created;
  bool arguments_trivial = false;  // nothing of what has run needs to be destroyed once it has ended
  bool is_call = false;            // a plain call, not a coroutine
  union {
    bool of_stranger = false;  // child: of a stranger's coroutine
    bool admitted;             // root: has its place among max_concurrent_tasks; the pool's
  };
};

/// Where a coroutine is at home, and not a guest: where its parent runs, or where it was submitted. Null outside any.
[[nodiscard]] Scheduler* home_of(const StateBase& state) noexcept;

/// Destroys a task that has not started; in a loop, since it may hold others that hold others.
void drop_unstarted(StateBase& state) noexcept;

/// Room for a result of type T, in front of its StateBase.
template <class T>
struct ResultSlot {
  template <class... Args>
  void emplace(Args&&... args) {
    if constexpr (std::is_arithmetic_v<T> && sizeof...(Args) == 1) {
      // `co_return 0` for a std::size_t is no reason for a warning about signs in here.
      ::new (static_cast<void*>(bytes)) T(static_cast<T>(std::forward<Args>(args))...);
    } else {
      ::new (static_cast<void*>(bytes)) T(std::forward<Args>(args)...);
    }
  }
  [[nodiscard]] T& get() noexcept { return *std::launder(reinterpret_cast<T*>(bytes)); }
  void destroy() noexcept { get().~T(); }

  alignas(T) std::byte bytes[sizeof(T)];
};

template <class T>
struct ResultSlot<T&> {
  void emplace(T& value) noexcept { pointer = std::addressof(value); }
  [[nodiscard]] T& get() noexcept { return *pointer; }
  void destroy() noexcept {}

  T* pointer;
};

template <>
struct ResultSlot<void> {
  void emplace() noexcept {}
  void get() noexcept {}
  void destroy() noexcept {}
};

/// Whether a result needs nothing done at its end.
template <class T>
inline constexpr bool has_trivial_result = std::is_trivially_destructible_v<T>;
template <class T>
inline constexpr bool has_trivial_result<T&> = true;
template <>
inline constexpr bool has_trivial_result<void> = true;

template <std::size_t size>
struct Padding {
  std::byte bytes[size];
};
template <>
struct Padding<0> {};

template <class T>
inline constexpr std::size_t state_alignment = alignof(ResultSlot<T>) > frame_alignment ? alignof(ResultSlot<T>)
                                                                                        : frame_alignment;

/// Where the block begins, when a result needs more alignment than any block has.
struct BlockStart {
  void* address;
};
struct BlockStartsHere {};

/// Runs a task from a queue: starts a root or a branch, or continues the parent of a child.
void run_task(Node& node) noexcept;

template <class T>
struct alignas(state_alignment<T>) State {
  static constexpr bool over_aligned = state_alignment<T> > frame_alignment;
  using Start = std::conditional_t<over_aligned, BlockStart, BlockStartsHere>;
  static constexpr std::size_t behind_result = (over_aligned ? sizeof(BlockStart) : 0) + sizeof(StateBase);
  static constexpr std::size_t padding_size =
      (state_alignment<T> - behind_result % state_alignment<T>) % state_alignment<T>;

  [[nodiscard]] static State& of(StateBase& base) noexcept {
    return *reinterpret_cast<State*>(reinterpret_cast<std::byte*>(&base) - base_offset());
  }

  /// Memory for a state followed by `frame_size` bytes of frame.
  [[nodiscard]] static StateBase& create(std::size_t frame_size) {
    // A result that needs more alignment than any block has: the frame then has it, too, since it may hold such a thing.
    constexpr std::size_t slack = alignof(State) - frame_alignment;
    const std::size_t size = sizeof(State) + frame_size + slack;
    void* const block = allocate_frame(size);
    std::size_t space = size;
    void* place = block;
    if constexpr (over_aligned) std::align(alignof(State), sizeof(State), place, space);
    auto* const state = ::new (place) State(size);
    if constexpr (over_aligned) state->start.address = block;
    return state->base;
  }

  /// Destroys what is left of a task, and gives its block back.
  static void end(StateBase& task) noexcept {
    end(task, task.outcome.load(std::memory_order_relaxed));  // relaxed: nobody else is left
  }
  /// The same where its outcome is known.
  static void end(StateBase& task, Outcome outcome) noexcept {
    std::destroy_at(&task.own_scope);
    end_child(task, outcome);
  }
  /// The same of a child, which has no scope of its own.
  static void end_child(StateBase& child, Outcome outcome) noexcept {
    if (outcome == Outcome::value || outcome == Outcome::moved) [[likely]] {
      if constexpr (!has_trivial_result<T>) of(child).result.destroy();
    } else if (outcome != Outcome::pending) {
      std::destroy_at(&child.error);
    }
    free_frame(block_of(child), child.frame_class);
  }
  /// Destroys the value that a task has left before it failed after all: a local's destructor may throw.
  static void discard_value(StateBase& task) noexcept {
    if constexpr (!has_trivial_result<T>) {
      if (task.outcome.load(std::memory_order_relaxed) == Outcome::value) of(task).result.destroy();  // relaxed: own
    }
  }
  /// Ends a task that is a Task's: not started, or a child or a branch that has run to its end. Not inline: every coroutine
  /// that awaits one would save more registers each time it is resumed.
  [[gnu::noinline]] static void drop(StateBase& task) noexcept {
    const Outcome outcome = task.outcome.load(std::memory_order_relaxed);  // relaxed: ours alone
    if (outcome == Outcome::pending) return drop_unstarted(task);
    task.destroy_ended_body();
    end(task, outcome);
  }

  /// Whether a result is copied, and forgotten, in an instruction.
  static constexpr bool is_scalar = (std::is_scalar_v<T> || std::is_reference_v<T> || std::is_void_v<T>)&&!over_aligned;

  /// Whether a task that has ended has a value, and nothing to be destroyed but perhaps its scope.
  static bool ends_trivially(const StateBase& task) noexcept {
    // relaxed: ours alone
    return task.outcome.load(std::memory_order_relaxed) == Outcome::value && task.arguments_trivial;
  }

  /// The value of such a task, whose block goes to the list; that has room.
  static T take_scalar(StateBase& task, FrameList& list) noexcept {
    if constexpr (std::is_void_v<T>) {
      list.put(&of(task));
    } else {
      T value = static_cast<T>(of(task).result.get());
      list.put(&of(task));
      return static_cast<T>(value);
    }
  }

  [[no_unique_address]] ResultSlot<T> result;  // of void: nothing
  [[no_unique_address]] Start start;
  // The base is last, whatever the alignment: its frame comes right behind it.
  [[no_unique_address]] Padding<padding_size> padding;
  StateBase base;

 private:
  static constexpr Node::Kind kind{.run = &run_task, .end = &end};

  explicit State(std::size_t size) noexcept : base(kind, size) {}

  static constexpr std::size_t base_offset() noexcept { return sizeof(State) - sizeof(StateBase); }
  static void* block_of(StateBase& base) noexcept {
    if constexpr (over_aligned) {
      return of(base).start.address;
    } else {
      return &of(base);
    }
  }
};

/// The result of a task that has ended with `outcome` and that nobody else looks at: moved out, or thrown.
template <class T>
T take_result(StateBase& base, Outcome outcome) {
  if (outcome == Outcome::value) [[likely]] {
    if constexpr (std::is_void_v<T>) {
      return;
    } else if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(State<T>::of(base).result.get());
    } else {
      return std::move(State<T>::of(base).result.get());
    }
  }
  std::rethrow_exception(std::move(base.error));
}

template <class T>
T take_result(StateBase& base) {
  return take_result<T>(base, base.outcome.load(std::memory_order_relaxed));  // relaxed: we have it alone
}

/// The result of a child, which is over then.
template <class T>
[[gnu::noinline]] T take_last_result_slowly(StateBase& child) {
  struct End {
    ~End() {
      child.destroy_ended_body();
      State<T>::end_child(child, outcome);
    }
    StateBase& child;
    const Outcome outcome;
  } const end{child, child.outcome.load(std::memory_order_relaxed)};  // relaxed: as above
  return take_result<T>(child, end.outcome);
}

/// The same. Where nothing has to be destroyed, inline and without a call: a coroutine saves what it needs after a call
/// each time it is resumed.
template <class T>
T take_last_result(StateBase& child) {
  if constexpr (State<T>::is_scalar) {
    FrameList& list = frame_list(child.frame_class);
    if (State<T>::ends_trivially(child) && list.has_room()) [[likely]]
      return State<T>::take_scalar(child, list);
  }
  return take_last_result_slowly<T>(child);
}

// Under here: what src/state.cpp does off the hot path.

/// Publishes the outcome of a root and tells those who wait. The last touch of it but for dropping a reference.
void publish(StateBase& state) noexcept;

/// Makes a task that has not started a root of `home`, with one handle, and one owner for the queue.
inline void begin_root(StateBase& state, Scheduler& home) noexcept;

/// Cancels a root: true when this cancelled it or asked it to stop, false when it was done.
bool cancel(StateBase& state) noexcept;

/// Cancels a root that has just been taken out of its queue, unless it has been started elsewhere; drops the queue's
/// reference.
void cancel_queued(StateBase& state) noexcept;

/// Runs a plain call whose start has been claimed. Returns what to run next.
std::coroutine_handle<> run_call(StateBase& state) noexcept;

/// Runs a root whose start has been claimed, on this thread, until it ends or suspends.
void run_claimed(StateBase& state) noexcept;

/// Whether what comes from a queue is a submitted task, that has not been started from there.
[[nodiscard]] inline bool is_queued_root(const Node& node) noexcept {
  return node.kind->end != nullptr && static_cast<const StateBase&>(node).role == Role::root;
}

/// The end of a root: its frame goes, its scheduler counts it, its waiters are told. Returns what to run next.
std::coroutine_handle<> finish_root(StateBase& state) noexcept;

/// The end of a child that has moved to another scheduler than its parent's, which continues on its own.
std::coroutine_handle<> finish_child_away(StateBase& state) noexcept;

/// Makes a task that has not started a branch: the `index`th of `latch`'s, to run on `scheduler`, cancelled with
/// `scope`.
inline void begin_branch(StateBase& state, Latch& latch, std::size_t index, Scheduler* scheduler,
                         Scope* scope) noexcept {
  state.role = Role::branch;
  state.latch = &latch;
  state.sequence_id = index;
  state.scheduler = scheduler;
  state.scope = scope;
}

/// The end of a branch.
std::coroutine_handle<> finish_branch(StateBase& state) noexcept;

/// Stores the exception being handled.
void store_current_exception(StateBase& state) noexcept;

inline void begin_root(StateBase& state, Scheduler& home) noexcept {
  state.role = Role::root;
  state.scheduler = state.home = &home;
  state.scope = &state.own_scope;
  state.references.store(StateBase::one_handle + StateBase::one_owner,
                         std::memory_order_relaxed);  // relaxed: nobody knows it yet
}

}  // namespace cohort::detail
