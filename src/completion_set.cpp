#include <cohort/detail/completion_set.hpp>
#include <cohort/detail/prefetch.hpp>
#include <cohort/detail/sync.hpp>

#include <algorithm>      // for std::any_of
#include <unordered_set>  // for std::unordered_set
#include <utility>        // for std::exchange

namespace cohort::detail {

namespace {

// How many states are on their way from memory while one is looked at: of a million most are in no cache any more.
constexpr std::size_t prefetched_ahead = 8;

void prefetch_after(const std::vector<StateBase*>& states, std::size_t index) noexcept {
  if (index + prefetched_ahead < states.size()) prefetch<0, 64>(states[index + prefetched_ahead]);
}

// Few handles to it: nobody knows it but the one we have it from.
bool may_be_twice(const StateBase& state, const Handles& handles) noexcept {
  // relaxed: if it is twice, the handles that show it are not going anywhere
  return (state.references.load(std::memory_order_relaxed) & StateBase::handle_mask) >= handles.if_twice;
}

// Drops second handles to the same state.
void remove_repeated(Handles& handles) {
  std::vector<StateBase*>& states = handles.states;
  std::unordered_set<StateBase*> seen;
  seen.reserve(states.size());
  std::size_t kept = 0;
  for (StateBase*& state : states) {
    if (!may_be_twice(*state, handles) || seen.insert(state).second) std::swap(states[kept++], state);
  }
  for (std::size_t index = kept; index < states.size(); ++index) states[index]->drop(StateBase::one_handle);
  states.resize(kept);
}

}  // namespace

// Which of them are done, and whether any may be there twice.
struct CompletionSet::Survey {
  explicit Survey(const Handles& handles) : done(handles.states.size()) {
    const std::vector<StateBase*>& states = handles.states;
    for (std::size_t index = 0; index < states.size(); ++index) {
      prefetch_after(states, index);
      if (may_be_twice(*states[index], handles)) repeated = true;
      if (!states[index]->done()) continue;
      done[index] = true;
      ++done_count;
    }
  }

  std::vector<bool> done;
  std::size_t done_count = 0;
  bool repeated = false;
};

CompletionSet* CompletionSet::create(Handles handles) {
  Survey survey(handles);
  if (survey.repeated) {
    remove_repeated(handles);
    survey = Survey(handles);
  }
  auto* const set = new CompletionSet(std::move(handles), std::move(survey));
  set->listen();
  return set;
}

CompletionSet::CompletionSet(Handles&& handles, Survey&& survey)
    : handles_(std::move(handles)),
      early_(std::move(survey.done)),
      early_left_(survey.done_count),
      entries_(size() - early_left_) {}

// What is done now comes first; then whatever is done while we are at it.
void CompletionSet::listen() noexcept {
  references_.fetch_add(entries_.size(), std::memory_order_relaxed);  // relaxed: nobody else knows it yet
  std::size_t index = 0;
  for (Entry& entry : entries_) {
    while (early_[index]) ++index;
    entry.set = this;
    entry.index = index++;
    entry.notify = [](Waiter& waiter) noexcept {
      auto& reported = static_cast<Entry&>(waiter);
      CompletionSet& owner = *reported.set;
      owner.done(reported);
      owner.drop_reference();
    };
    if (!handles_.states[entry.index]->waiters.add(entry)) {
      done(entry);
      drop_reference();
    }
  }
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
    while (!early_[early_index_]) ++early_index_;
    --early_left_;
    prefetch_after(handles_.states, early_index_);  // most likely it comes next
    return early_index_++;
  }
  std::lock_guard lock(mutex_);
  const Entry& entry = *first_done_;
  first_done_ = entry.next_done;
  if (first_done_ == nullptr) last_done_ = nullptr;
  --ready_;
  return entry.index;
}

Handles CompletionSet::take_all() noexcept {
  stop_listening();
  return std::move(handles_);
}

std::size_t CompletionSet::unfinished() noexcept {
  std::lock_guard lock(mutex_);
  return size() - given_out_ - early_left_ - ready_;
}

// What is not given out is not reported to anybody any more. A report that is under way still comes to its entry.
void CompletionSet::stop_listening() noexcept {
  std::size_t removed = 0;
  for (Entry& entry : entries_) {
    StateBase* const state = handles_.states[entry.index];
    if (state != nullptr && state->waiters.remove(entry)) ++removed;
  }
  references_.fetch_sub(removed, std::memory_order_relaxed);  // relaxed: ours remains
}

void CompletionSet::abandon(bool cancels) noexcept {
  if (size() != 0) stop_listening();
  {
    const Handles dropped = std::move(handles_);
    // The newest first: what has not started is not to start because what runs has been stopped.
    for (auto handle = dropped.states.rbegin(); handle != dropped.states.rend(); ++handle) {
      if (cancels && *handle != nullptr) cancel(**handle);
    }
  }
  drop_reference();
}

void CompletionSet::drop_reference() noexcept {
  if (references_.fetch_sub(1, std::memory_order_seq_cst) == 1) delete this;  // the last sees what all others did
}

// True when the consumer will be woken; false when there is enough already.
bool CompletionSet::start_waiting(Consumer& consumer, std::size_t count) noexcept {
  if (has_early(count)) return false;
  std::lock_guard lock(mutex_);
  if (early_left_ + ready_ >= count) return false;
  consumer.wanted = count - early_left_;
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
  if (own != nullptr && own->driven() && std::any_of(handles_.states.begin(), handles_.states.end(), elsewhere))
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
  const bool timed = wait_.deadline() != TimePoint::max();
  if (timed && (task != nullptr ? task->scheduler : thread_context().scheduler) == nullptr) {
    throw_needs_scheduler("a wait with a timeout");
  }
  wait_.wake = [](Consumer& consumer) noexcept { static_cast<Wait&>(consumer).fire(Wake::ready); };
  static constexpr Suspension::Awaited futures{
      .remove =
          [](Suspension& suspension) noexcept {
            auto& self = static_cast<Wait&>(suspension);
            return self.set->stop_waiting(self);
          },
      .waits_for = [](const Suspension&) noexcept { return WaitsFor{.kind = WaitsFor::Kind::futures}; }};
  wait_.begin(handle, futures);
  wait_.add_source();
  if (!wait_.set->start_waiting(wait_, count_)) {
    wait_.fire(Wake::ready);
  } else if (timed && wait_.deadline() <= now()) {
    wait_.add_source();
    wait_.fire(Wake::timed_out);
  } else {
    wait_.watch_stop();
    wait_.watch_deadline();
  }
  return wait_.finish();
}

}  // namespace cohort::detail
