#include <cohort/detail/completion_set.hpp>
#include <cohort/detail/sync.hpp>

#include <algorithm>      // for std::any_of
#include <unordered_set>  // for std::unordered_set
#include <utility>        // for std::exchange

namespace cohort::detail {

namespace {

void drop_handles(const std::vector<StateBase*>& handles) noexcept {
  for (StateBase* handle : handles) {
    if (handle != nullptr) handle->drop(StateBase::one_handle);
  }
}

// How many states are on their way from memory while one is looked at: of a million most are in no cache any more.
constexpr std::size_t prefetched_ahead = 8;

void prefetch_after(const std::vector<StateBase*>& states, std::size_t index) noexcept {
#if defined(__GNUC__)
  if (index + prefetched_ahead < states.size()) __builtin_prefetch(states[index + prefetched_ahead]);
#else
  static_cast<void>(states), static_cast<void>(index);
#endif
}

// Which of them are done, and whether any may be there twice.
struct Survey {
  explicit Survey(const Handles& handles) {
    const std::vector<StateBase*>& states = handles.states;
    done.reserve(states.size());
    for (std::size_t index = 0; index < states.size(); ++index) {
      prefetch_after(states, index);
      if (may_be_twice(*states[index], handles)) repeated = true;
      if (states[index]->done()) done.push_back(index);
    }
  }

  // Few handles to it: nobody knows it but the one we have it from.
  static bool may_be_twice(const StateBase& state, const Handles& handles) noexcept {
    // relaxed: if it is twice, the handles that show it are not going anywhere
    return (state.references.load(std::memory_order_relaxed) & StateBase::handle_mask) >= handles.if_twice;
  }

  std::vector<std::size_t> done;
  bool repeated = false;
};

// Drops second handles to the same state.
void remove_repeated(Handles& handles) {
  std::vector<StateBase*>& states = handles.states;
  std::unordered_set<StateBase*> seen;
  seen.reserve(states.size());
  std::size_t kept = 0;
  for (StateBase*& state : states) {
    if (!Survey::may_be_twice(*state, handles) || seen.insert(state).second) std::swap(states[kept++], state);
  }
  for (std::size_t index = kept; index < states.size(); ++index) states[index]->drop(StateBase::one_handle);
  states.resize(kept);
}

}  // namespace

CompletionSet* CompletionSet::create(Handles handles) {
  CompletionSet* set = nullptr;
  try {
    Survey survey(handles);
    if (survey.repeated) {
      remove_repeated(handles);
      survey = Survey(handles);
    }
    set = new CompletionSet;
    set->early_ = std::move(survey.done);
    set->entries_ = std::vector<Entry>(handles.states.size() - set->early_.size());
  } catch (...) {
    drop_handles(handles.states);
    delete set;
    throw;
  }
  set->handles_ = std::move(handles.states);
  set->references_.fetch_add(set->entries_.size(), std::memory_order_relaxed);  // relaxed: nobody else knows it yet

  // What is done now comes first; then whatever is done while we are at it.
  std::size_t index = 0;
  auto early = set->early_.begin();
  for (Entry& entry : set->entries_) {
    for (; early != set->early_.end() && *early == index; ++early) ++index;
    entry.set = set;
    entry.index = index++;
    entry.notify = [](Waiter& waiter) noexcept {
      auto& reported = static_cast<Entry&>(waiter);
      CompletionSet& owner = *reported.set;
      owner.done(reported);
      owner.drop_reference();
    };
    if (!set->handles_[entry.index]->waiters.add(entry)) {
      set->done(entry);
      set->drop_reference();
    }
  }
  return set;
}

void CompletionSet::done(Entry& entry) noexcept {
  Consumer* woken = nullptr;
  {
    std::lock_guard lock(mutex_);
    (last_done_ != nullptr ? last_done_->next_done : first_done_) = &entry;
    last_done_ = &entry;
    ++ready_;
    if (consumer_ != nullptr && ready_ >= consumer_->wanted) {
      woken = std::exchange(consumer_, nullptr);
      woken->waiting = false;
    }
  }
  if (woken != nullptr) woken->wake(*woken);
}

std::size_t CompletionSet::next_done() noexcept {
  ++given_out_;
  if (has_early(1)) {
    const std::size_t index = early_[early_given_out_++];
    prefetch_after(handles_, index);  // most likely it comes next
    return index;
  }
  std::lock_guard lock(mutex_);
  const Entry& entry = *first_done_;
  first_done_ = entry.next_done;
  if (first_done_ == nullptr) last_done_ = nullptr;
  --ready_;
  return entry.index;
}

std::vector<StateBase*> CompletionSet::take_all() noexcept {
  stop_listening();
  return std::exchange(handles_, {});
}

std::size_t CompletionSet::unfinished() noexcept {
  std::lock_guard lock(mutex_);
  return handles_.size() - given_out_ - early_left() - ready_;
}

// What is not given out is not reported to anybody any more. A report that is under way still comes to its entry.
void CompletionSet::stop_listening() noexcept {
  std::size_t removed = 0;
  for (Entry& entry : entries_) {
    StateBase* const state = handles_[entry.index];
    if (state != nullptr && state->waiters.remove(entry)) ++removed;
  }
  references_.fetch_sub(removed, std::memory_order_relaxed);  // relaxed: ours remains
}

void CompletionSet::abandon(bool cancels) noexcept {
  if (!handles_.empty()) stop_listening();
  // The newest first: what has not started is not to start because what runs has been stopped.
  for (auto handle = handles_.rbegin(); handle != handles_.rend(); ++handle) {
    if (cancels && *handle != nullptr) cancel(**handle);
  }
  drop_handles(std::exchange(handles_, {}));
  drop_reference();
}

void CompletionSet::drop_reference() noexcept {
  if (references_.fetch_sub(1, std::memory_order_seq_cst) == 1) delete this;  // the last sees what all others did
}

// True when the consumer will be woken; false when there is enough already.
bool CompletionSet::start_waiting(Consumer& consumer, std::size_t count) noexcept {
  if (has_early(count)) return false;
  std::lock_guard lock(mutex_);
  if (early_left() + ready_ >= count) return false;
  consumer.wanted = count - early_left();
  consumer.waiting = true;
  consumer_ = &consumer;
  return true;
}

// True when the consumer will not be woken any more.
bool CompletionSet::stop_waiting(Consumer& consumer) noexcept {
  std::lock_guard lock(mutex_);
  if (!std::exchange(consumer.waiting, false)) return false;
  consumer_ = nullptr;
  return true;
}

bool CompletionSet::wait_blocking(std::size_t count, TimePoint deadline) {
  struct Blocked : Consumer {
    explicit Blocked(TimePoint time) noexcept : wait(time) {
      wake = [](Consumer& consumer) noexcept { static_cast<Blocked&>(consumer).wait.signal(); };
    }
    BlockingWait wait;
  } blocked(deadline);
  if (!start_waiting(blocked, count)) return true;
  blocked.wait.set_waits_for({.kind = WaitsFor::Kind::futures});
  const Scheduler* const own = thread_context().scheduler;
  const auto elsewhere = [own](const StateBase* state) {
    return state != nullptr && state->home != nullptr && state->home != own;
  };
  // Only who drives its scheduler wants to know, and it is a look at all of them.
  if (own != nullptr && own->driven() && std::any_of(handles_.begin(), handles_.end(), elsewhere))
    blocked.wait.end_elsewhere();
  block(blocked.wait);
  if (blocked.wait.over()) return true;
  if (stop_waiting(blocked)) {
    if (deadline == TimePoint::max()) throw_never_done();
    return false;
  }
  blocked.wait.expect_signal();
  block(blocked.wait);
  return true;
}

// True when the coroutine is suspended.
bool CompletionSet::Ready::Awaiter::wait(std::coroutine_handle<> handle) {
  const StateBase* const task = wait_.task();
  if (asked_to_stop(task)) {
    static_cast<void>(wait_.claim(Wake::stopped));
    return false;
  }
  const bool timed = wait_.time != TimePoint::max();
  if (timed && (task != nullptr ? task->scheduler : thread_context().scheduler) == nullptr) {
    throw_needs_scheduler("a wait with a timeout");
  }
  wait_.wake = [](Consumer& consumer) noexcept { static_cast<Wait&>(consumer).Suspension::fire(Wake::ready); };
  static constexpr Suspension::Awaited futures{
      .remove =
          [](Suspension& suspension) noexcept {
            auto& self = static_cast<Wait&>(suspension);
            return self.set->stop_waiting(self);
          },
      .waits_for = [](const Suspension&) noexcept { return WaitsFor{.kind = WaitsFor::Kind::futures}; }};
  static constexpr Suspension::Awaited futures_in_time{
      .remove = futures.remove,
      .waits_for = futures.waits_for,
      .timer = [](Suspension& suspension) noexcept -> Timer& { return static_cast<Wait&>(suspension); },
      .time_out = [](Timer& timer) noexcept { static_cast<Wait&>(timer).Suspension::fire(Wake::timed_out); }};
  wait_.begin(handle, timed ? futures_in_time : futures);
  wait_.add_source();
  if (!wait_.set->start_waiting(wait_, count_)) {
    wait_.Suspension::fire(Wake::ready);
  } else if (timed && wait_.time <= now()) {
    wait_.add_source();
    wait_.Suspension::fire(Wake::timed_out);
  } else {
    wait_.watch_stop();
    if (timed) wait_.watch_deadline();
  }
  return wait_.finish();
}

}  // namespace cohort::detail
