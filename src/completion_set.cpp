#include <cohort/detail/completion_set.hpp>
#include <cohort/detail/sync.hpp>

#include <unordered_set>  // for std::unordered_set
#include <utility>        // for std::exchange

namespace cohort::detail {

CompletionSet* CompletionSet::create(std::vector<StateBase*> handles) {
  CompletionSet* set = nullptr;
  std::size_t kept = 0;
  try {
    std::unordered_set<StateBase*> seen;
    seen.reserve(handles.size());
    for (std::size_t index = 0; index < handles.size(); ++index) {
      StateBase* const handle = handles[index];
      if (seen.insert(handle).second) {
        std::swap(handles[kept++], handles[index]);
      }
    }
    set = new CompletionSet;
    set->entries_ = std::vector<Entry>(kept);
  } catch (...) {
    delete set;
    for (StateBase* handle : handles) handle->drop(StateBase::one_handle);
    throw;
  }
  for (std::size_t index = kept; index < handles.size(); ++index) handles[index]->drop(StateBase::one_handle);

  for (std::size_t index = 0; index < kept; ++index) {
    Entry& entry = set->entries_[index];
    entry.set = set;
    entry.state = handles[index];
    entry.notify = [](Waiter& waiter) noexcept {
      auto& reported = static_cast<Entry&>(waiter);
      CompletionSet& owner = *reported.set;
      owner.done(reported);
      owner.drop_reference();
    };
  }
  // What is done now comes first; then whatever is done while we are at it.
  std::vector<Entry*> pending;
  try {
    pending.reserve(kept);
  } catch (...) {
    set->abandon(false);
    throw;
  }
  for (Entry& entry : set->entries_) {
    if (entry.state->done()) {
      set->done(entry);
    } else {
      pending.push_back(&entry);
    }
  }
  for (Entry* entry : pending) {
    set->references_.fetch_add(1, std::memory_order_relaxed);  // relaxed: the consumer holds another
    if (!entry->state->waiters.add(*entry)) {
      set->done(*entry);
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

StateBase* CompletionSet::take() noexcept {
  std::lock_guard lock(mutex_);
  Entry* entry = first_done_;
  if (entry == nullptr) return nullptr;
  first_done_ = entry->next_done;
  if (first_done_ == nullptr) last_done_ = nullptr;
  --ready_;
  ++given_out_;
  return std::exchange(entry->state, nullptr);
}

bool CompletionSet::exhausted() noexcept {
  std::lock_guard lock(mutex_);
  return given_out_ == entries_.size();
}

std::size_t CompletionSet::unfinished() noexcept {
  std::lock_guard lock(mutex_);
  return entries_.size() - given_out_ - ready_;
}

void CompletionSet::abandon(bool cancels) noexcept {
  // What is not given out stays ours, and its entry is not reported to anybody any more.
  for (Entry& entry : entries_) {
    if (entry.state == nullptr) continue;
    if (entry.state->waiters.remove(entry))
      references_.fetch_sub(1, std::memory_order_relaxed);  // relaxed: ours remains
    if (cancels) cancel(*entry.state);
  }
  // A report that was under way when we came may still look at its entry, but not at the future.
  for (Entry& entry : entries_) {
    if (entry.state != nullptr) std::exchange(entry.state, nullptr)->drop(StateBase::one_handle);
  }
  drop_reference();
}

void CompletionSet::drop_reference() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
    delete this;  // acq_rel: the last sees what all others did
}

// True when the consumer will be woken; false when there is enough already.
bool CompletionSet::start_waiting(Consumer& consumer, std::size_t count) noexcept {
  std::lock_guard lock(mutex_);
  if (ready_ >= count) return false;
  consumer.wanted = count;
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
  WaitsFor waits;
  waits.kind = WaitsFor::Kind::futures;
  blocked.wait.set_waits_for(waits);
  const Scheduler* const own = thread_context().scheduler;
  for (const Entry& entry : entries_) {
    if (entry.state != nullptr && entry.state->home != nullptr && entry.state->home != own) {
      blocked.wait.end_elsewhere();
      break;
    }
  }
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
  if (asked_to_stop(task_)) {
    static_cast<void>(wait_.claim(Wake::stopped));
    return false;
  }
  const bool timed = deadline_ != TimePoint::max();
  if (timed && (task_ != nullptr ? task_->scheduler : thread_context().scheduler) == nullptr) {
    throw_needs_scheduler("a wait with a timeout");
  }
  wait_.set = set_;
  wait_.wake = [](Consumer& consumer) noexcept { static_cast<Wait&>(consumer).fire(Wake::ready); };
  static constexpr Suspension::Awaited futures{.remove =
                                                   [](Suspension& suspension) noexcept {
                                                     auto& self = static_cast<Wait&>(suspension);
                                                     return self.set->stop_waiting(self);
                                                   },
                                               .describe =
                                                   [](const Suspension&) noexcept {
                                                     WaitsFor waits;
                                                     waits.kind = WaitsFor::Kind::futures;
                                                     return waits;
                                                   }};
  wait_.begin(handle, task_, futures, timed ? &timer_ : nullptr);
  wait_.add_source();
  if (!set_->start_waiting(wait_, count_)) {
    wait_.fire(Wake::ready);
  } else if (timed && deadline_ <= now()) {
    wait_.add_source();
    wait_.fire(Wake::timed_out);
  } else {
    wait_.watch_stop();
    wait_.watch_deadline(deadline_);
  }
  return wait_.finish();
}

}  // namespace cohort::detail
