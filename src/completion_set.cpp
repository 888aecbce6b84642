#include <cohort/detail/completion_set.hpp>
#include <cohort/detail/prefetch.hpp>
#include <cohort/detail/sync.hpp>

#include <algorithm>      // for std::any_of, std::max
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

}  // namespace

CompletionSet* CompletionSet::create(Handles handles) {
  CompletionSetOwner set(new CompletionSet(std::move(handles)));
  set->listen();
  return set.release();
}

// One look at each state, which may have to come from far: second handles to it are dropped, and whether it is done now
// decides whether it is early.
void CompletionSet::listen() {
  std::vector<StateBase*>& states = handles_.states;
  std::unordered_set<StateBase*> seen;
  std::size_t kept = 0;
  for (std::size_t index = 0; index < states.size(); ++index) {
    prefetch_after(states, index);
    StateBase& state = *states[index];
    if (may_be_twice(state, handles_) && !seen.insert(&state).second) {
      handles_.take(index)->drop(StateBase::one_handle);
      continue;
    }
    std::swap(states[kept], states[index]);
    const bool early = state.done();
    if (!early && entries_.empty()) {
      entries_.reserve(states.size() - kept);
      first_entry_ = kept;
    }
    if (!early || !entries_.empty()) entries_.emplace_back(*this);
    if (early) {
      early_[kept] = true;
      ++early_left_;
    } else {
      ++listening_to_;
      if (!state.waiters.add(entries_.back())) report(entries_.back());
    }
    ++kept;
  }
  states.resize(kept);
  // What was done meanwhile is early, too: else it would come after what was done later, but before it was looked at.
  // acquire: pairs with report()
  for (Waiter* entry = done_.exchange(nullptr, std::memory_order_acquire); entry != nullptr; entry = entry->before) {
    early_[index_of(*entry)] = true;
    ++early_left_;
    ++reports_used_;
  }
}

CompletionSet::Entry::Entry(CompletionSet& owner) noexcept : set(&owner) {
  notify = [](Waiter& waiter) noexcept {
    auto& self = static_cast<Entry&>(waiter);
    self.set->report(self);
  };
}

// The consumer may be gone as soon as it is counted, and the set with him, unless it is the last that is waited for.
void CompletionSet::report(Entry& entry) noexcept {
  Waiter* before = done_.load(std::memory_order_relaxed);  // relaxed: the exchange decides
  do {
    entry.before = before;
    // release: pairs with next_done()
  } while (!done_.compare_exchange_weak(before, &entry, std::memory_order_release, std::memory_order_relaxed));
  if (!reports_.add()) return;
  if (consumer_ != nullptr) {
    consumer_->wake(*consumer_);
  } else {
    delete this;
  }
}

std::size_t CompletionSet::next_done() noexcept {
  ++given_out_;
  if (has_early(1)) {
    while (!early_[early_index_]) ++early_index_;
    --early_left_;
    prefetch_after(handles_.states, early_index_);  // most likely it comes next
    return early_index_++;
  }
  ++reports_used_;
  if (late_ == nullptr) {
    // acquire: pairs with report()
    for (Waiter* newest = done_.exchange(nullptr, std::memory_order_acquire); newest != nullptr;) {
      Waiter* const before = std::exchange(newest->before, late_);
      late_ = std::exchange(newest, before);
    }
  }
  return index_of(*std::exchange(late_, late_->before));
}

std::size_t CompletionSet::index_of(const Waiter& entry) const noexcept {
  return first_entry_ + static_cast<std::size_t>(static_cast<const Entry*>(&entry) - entries_.data());
}

Handles CompletionSet::take_all() noexcept {
  stop_listening();
  return std::move(handles_);
}

// A report is seen, and may be given out, before it is counted.
std::size_t CompletionSet::unfinished() const noexcept {
  return listening_to_ - std::max<std::size_t>(reports_.count(), reports_used_);
}

// What is not given out is not reported to anybody any more. A report that is under way still comes to its entry.
void CompletionSet::stop_listening() noexcept {
  for (std::size_t index = 0; index < entries_.size() && unfinished() != 0; ++index) {
    StateBase* const state = handles_.states[first_entry_ + index];
    if (state != nullptr && !early_[first_entry_ + index] && state->waiters.remove(entries_[index])) --listening_to_;
  }
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
  consumer_ = nullptr;
  if (!reports_.wait_for(listening_to_)) delete this;
}

// True when the consumer will be woken; false when there is enough already.
bool CompletionSet::start_waiting(Consumer& consumer, std::size_t count) noexcept {
  if (has_early(count)) return false;
  consumer_ = &consumer;
  return reports_.wait_for(reports_used_ + (count - early_left_));
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
  if (stop_waiting()) {
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
            return self.set->stop_waiting();
          },
      .waits_for = [](const Suspension&) noexcept { return WaitsFor{.kind = WaitsFor::Kind::futures}; }};
  Suspension::Registration registration(wait_, handle, futures);
  registration.add_source();
  if (!wait_.set->start_waiting(wait_, count_)) {
    wait_.fire(Wake::ready);
  } else if (timed && wait_.deadline() <= now()) {
    registration.add_source();
    wait_.fire(Wake::timed_out);
  } else {
    registration.watch_stop();
    registration.watch_deadline();
  }
  return registration.finish();
}

}  // namespace cohort::detail
