#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/thread_context.hpp>

#include <concepts>     // for std::convertible_to
#include <coroutine>    // for std::coroutine_handle
#include <type_traits>  // for std::is_void_v
#include <utility>      // for std::exchange

namespace cohort {

template <class T = void>
class Task;

namespace detail {

template <class T>
class TaskAwaiter;
template <class T>
class ChildAwaiter;
template <class T>
struct Promise;

/// Symmetric transfer of a finished coroutine, to whoever comes next: its parent, or nobody.
struct FinalAwaiter {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  COHORT_SUSPEND_OUT_OF_LINE std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) const noexcept {
    // A root's frame, with this awaiter in it, is destroyed in finish_root(): nothing of it is touched after.
    StateBase& state = StateBase::of(handle.address());
    if (state.role == Role::child) [[likely]]
      return transfer(state.continuation);
    if (state.role == Role::adopted) return transfer(adopter());
    if (state.role == Role::root) return finish_root(state);
    return state.role == Role::branch ? finish_branch(state) : finish_child_away(state);
  }
  void await_resume() const noexcept {}
};

/// Whether a coroutine with such a promise has a state in front of its frame.
template <class P>
inline constexpr bool is_task_promise = false;
template <class T>
inline constexpr bool is_task_promise<Promise<T>> = true;

template <class Promise>
[[nodiscard]] StateBase& state_of(Promise& promise) noexcept {
  return StateBase::of(std::coroutine_handle<Promise>::from_promise(promise).address());
}

/// What the promises of all tasks share. Empty: the state stands in front of the frame.
template <class T>
struct PromiseBase {
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }

  static void* operator new(std::size_t size) { return &State<T>::create(size) + 1; }
  // The frame's memory belongs to the state, which outlives it; unless the coroutine could not even be made.
  static void operator delete(void* frame, std::size_t) noexcept {
    StateBase& state = StateBase::of(frame);
    // By the kind, and so not inline: every coroutine would save more registers each time it is resumed.
    if (state.role == Role::created) [[unlikely]]
      state.end();
  }
};

/// Whether an argument of a coroutine leaves nothing to do at its end. What a reference refers to may be incomplete.
template <class T>
concept TrivialArgument = requires {
  sizeof(T);
}
&&std::is_trivially_destructible_v<T>;

/// What is left in a frame at the end of its coroutine are its arguments.
template <class... Args>
void note_arguments(StateBase& state) noexcept {
  state.arguments_trivial = (TrivialArgument<Args> && ...);
}

/// What a Task may await: its promise is asked to turn each awaited thing into an awaiter.
template <class Derived>
struct AwaitTransform {
  template <class T>
  [[nodiscard]] ChildAwaiter<T> await_transform(Task<T>&& task) noexcept {
    return ChildAwaiter<T>(std::move(task));
  }

  template <LibraryAwaitable A>
  [[nodiscard]] decltype(auto) await_transform(A&& awaitable) {
    return std::forward<A>(awaitable).bind(&state_of(static_cast<Derived&>(*this)));
  }

  template <class A>
  requires(!LibraryAwaitable<A>) [[nodiscard]] auto await_transform(A&& awaitable) {
    static_assert(
        Awaitable<A>,
        "cohort::Task: what is awaited is not awaitable. A Task is awaited as an rvalue: co_await std::move(task).");
    return StrangersAwaiter<A>(std::forward<A>(awaitable), &state_of(static_cast<Derived&>(*this)));
  }
};

template <class T>
struct Promise : PromiseBase<T>, AwaitTransform<Promise<T>> {
  template <class... Args>
  explicit Promise(const Args&...) noexcept {
    note_arguments<Args...>(state_of(*this));
  }
  [[nodiscard]] Task<T> get_return_object() noexcept;
  void unhandled_exception() noexcept {
    State<T>::discard_value(state_of(*this));
    store_current_exception(state_of(*this));
  }

  template <class U = T>
  requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) {
    StateBase& state = state_of(*this);
    State<T>::of(state).result.emplace(std::forward<U>(value));
    state.outcome.store(Outcome::value, std::memory_order_relaxed);  // relaxed: publish() or the same thread
  }
};

template <class T>
struct Promise<T&> : PromiseBase<T&>, AwaitTransform<Promise<T&>> {
  template <class... Args>
  explicit Promise(const Args&...) noexcept {
    note_arguments<Args...>(state_of(*this));
  }
  [[nodiscard]] Task<T&> get_return_object() noexcept;
  void unhandled_exception() noexcept { store_current_exception(state_of(*this)); }

  void return_value(T& value) noexcept {
    StateBase& state = state_of(*this);
    State<T&>::of(state).result.emplace(value);
    state.outcome.store(Outcome::value, std::memory_order_relaxed);  // relaxed: as above
  }
};

template <>
struct Promise<void> : PromiseBase<void>, AwaitTransform<Promise<void>> {
  template <class... Args>
  explicit Promise(const Args&...) noexcept {
    note_arguments<Args...>(state_of(*this));
  }
  [[nodiscard]] Task<void> get_return_object() noexcept;
  void unhandled_exception() noexcept { store_current_exception(state_of(*this)); }

  void return_void() noexcept {
    state_of(*this).outcome.store(Outcome::value, std::memory_order_relaxed);  // relaxed: as above
  }
};

template <class T>
inline constexpr bool is_task_type = false;
template <class T>
inline constexpr bool is_task_type<Task<T>> = true;
/// Whether T is a Task, or a reference to one.
template <class T>
inline constexpr bool is_task = is_task_type<std::remove_cvref_t<T>>;

/// Reaches into a Task, for the library.
struct TaskAccess {
  template <class T>
  [[nodiscard]] static StateBase* state(const Task<T>& task) noexcept {
    return task.state_;
  }
  template <class T>
  [[nodiscard]] static StateBase* release(Task<T>& task) noexcept {
    return std::exchange(task.state_, nullptr);
  }
};

}  // namespace detail

/// A lazy coroutine that yields a `T`: nothing of it runs until it is awaited or submitted.
///
/// `T` may be void, move-only, not default-constructible, or a reference. Inside, `co_await` takes any awaitable, the
/// library's or a stranger's; the task continues on its own executor, whichever thread completed what it waited for.
///
///     cohort::Task<int> answer() { co_return 42; }
///     cohort::Task<> ask() { int value = co_await answer(); … }
///
/// *Cancellation*: a task that is awaited, rather than submitted, shares the stop token of the one who awaits it.
/// *Throws*: calling a coroutine function may throw `std::bad_alloc`, or what copying its arguments throws.
/// *Lifetime*: the arguments live in the coroutine until the Task is destroyed, or, once submitted, until it ends; what
/// they refer to must live as long. A lambda's captures are not arguments: see docs/lifetimes.md.
/// *Thread safety*: a Task object belongs to one thread at a time.
/// *Complexity*: one allocation per task; a serial `co_await` costs about ten nanoseconds and no atomic operation. A
/// million tasks awaiting each other, or dropped unstarted, take no more stack than one.
template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using value_type = T;

  Task(Task&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    Task(std::move(other)).swap(*this);
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() {
    if (state_ != nullptr) detail::State<T>::drop(*state_);
  }

  /// Starts the task on the spot; the awaiter is resumed with its value or exception. An rvalue only: a task runs once.
  [[nodiscard]] detail::TaskAwaiter<T> operator co_await() && noexcept {
    return detail::TaskAwaiter<T>(std::move(*this));
  }

  /// Whether there is a task: not after it has been moved from, awaited or submitted.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }

  void swap(Task& other) noexcept { std::swap(state_, other.state_); }

 private:
  friend struct detail::Promise<T>;
  friend struct detail::TaskAccess;

  explicit Task(detail::StateBase& state) noexcept : state_(&state) {}

  detail::StateBase* state_;
};

namespace detail {

/// Runs a task as the child of the coroutine that awaits it. To be awaited at once, to the end: it has nothing to destroy,
/// which each `co_await` would look for.
template <class T>
class [[nodiscard]] ChildAwaiter {
 public:
  explicit ChildAwaiter(Task<T>&& task) noexcept : child_(TaskAccess::release(task)) {}
  ChildAwaiter(const ChildAwaiter&) = delete;
  ChildAwaiter& operator=(const ChildAwaiter&) = delete;

  [[nodiscard]] bool await_ready() const {
    if (child_ == nullptr) [[unlikely]]
      throw_invalid_state("the task has been moved from, awaited or submitted already");
    return false;
  }
  template <class P>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<P> handle) noexcept {
    child_->continuation = handle;
    if constexpr (is_task_promise<P>) {
      const StateBase& parent = StateBase::of(handle.address());
      child_->scope = parent.scope;
      child_->scheduler = parent.scheduler;
      return transfer(child_->frame());
    } else {
      // A stranger's coroutine: where it runs now is where it goes on, and nothing asks it to stop.
      child_->scope = nullptr;
      child_->scheduler = child_->strangers_scheduler = thread_context().scheduler;
      child_->of_stranger = true;
#if defined(__clang__)
      return child_->frame();
#else
      resume_here(child_->frame());  // the stack below is not ours to come back to
      return std::noop_coroutine();
#endif
    }
  }
  T await_resume() { return take_last_result<T>(*child_); }

 protected:
  StateBase* child_;
};

/// The same, for those who may hold it for some time.
template <class T>
class [[nodiscard]] TaskAwaiter : public ChildAwaiter<T> {
 public:
  using ChildAwaiter<T>::ChildAwaiter;
  ~TaskAwaiter() {
    if (this->child_ != nullptr) [[unlikely]]
      State<T>::drop(*this->child_);
  }
  T await_resume() { return take_last_result<T>(*std::exchange(this->child_, nullptr)); }
};

inline StateBase& adopt_frame(StateBase& state) noexcept {
  state.role = Role::child;
  return state;
}

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(adopt_frame(state_of(*this)));
}
template <class T>
Task<T&> Promise<T&>::get_return_object() noexcept {
  return Task<T&>(adopt_frame(state_of(*this)));
}
inline Task<void> Promise<void>::get_return_object() noexcept { return Task<void>(adopt_frame(state_of(*this))); }

}  // namespace detail
}  // namespace cohort
