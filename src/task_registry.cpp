#include "task_registry.hpp"

#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/thread_context.hpp>
#include <cohort/errors.hpp>

#include <algorithm>    // for std::any_of, std::max
#include <stdexcept>    // for std::invalid_argument
#include <string>       // for std::to_string
#include <string_view>  // for std::string_view
#include <utility>      // for std::exchange

namespace cohort::detail {
namespace {

// The registry whose callback runs on this thread, innermost.
constinit thread_local const TaskRegistry* calling_back = nullptr;

bool is_empty(const TaskDescription& task) {
  const auto* program = std::get_if<ExecutableTask>(&task.work);
  return program != nullptr ? program->program.empty() : !std::get<FunctionTask>(task.work);
}

[[noreturn]] void refuse(std::string_view uid, std::size_t index, const std::string& why) {
  const std::string which =
      uid.empty() ? "number " + std::to_string(index) + " of the batch, from 0," : "\"" + std::string(uid) + "\"";
  throw std::invalid_argument("task " + which + " " + why);
}

}  // namespace

TaskRecord::TaskRecord(TaskDescription&& description)
    : work(std::move(description.work)), options(description.options) {
  result.uid = std::move(description.uid);
  result.metadata = std::move(description.metadata);
}

TaskRegistry::TaskRegistry(Scheduler* home, std::size_t history_limit)
    : home_(home), history_limit_(history_limit), callbacks_(std::make_shared<Callbacks>()) {}

// ---------------------------------------------------------------------------------------------------------------------
// Accepting

// Gives the uids that are in the batch.
TaskRegistry::Uids TaskRegistry::check(const std::vector<TaskDescription>& tasks) const {
  Uids uids;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const TaskDescription& task = tasks[i];
    if (is_empty(task)) refuse(task.uid, i, "is empty: it has neither a function nor a program");
    const SubmitOptions& options = task.options;
    try {
      validate(options.retries, options.retry_delay, options.backoff, options.max_retry_delay, options.jitter);
    } catch (const std::invalid_argument& error) {
      refuse(task.uid, i, std::string("has options out of range: ") + error.what());
    }
    const auto* function = std::get_if<FunctionTask>(&task.work);
    if (function != nullptr && !function->repeatable() && options.retries > 0)
      refuse(task.uid, i, "cannot be retried: its function or an argument cannot be copied; retries must be 0");
    if (task.uid.empty()) continue;
    if (!uids.insert(task.uid).second) refuse(task.uid, i, "is twice in the batch: a uid must be unique");
    const auto known = entries_.find(task.uid);
    if (known != entries_.end() && known->second.record != nullptr)
      refuse(task.uid, i, "is live already: its uid is free again when it has ended");
  }
  return uids;
}

std::string TaskRegistry::next_uid(const Uids& taken) {
  for (;;) {
    const std::string number = std::to_string(++numbered_);
    std::string uid = "task.";
    if (number.size() < 6) uid.append(6 - number.size(), '0');
    uid += number;
    if (taken.count(uid) == 0 && entries_.count(uid) == 0) return uid;
  }
}

TaskRegistry::Records TaskRegistry::accept(std::vector<TaskDescription>&& tasks) {
  const TimePoint now = detail::now();
  Records records;
  records.reserve(tasks.size());
  std::lock_guard lock(mutex_);
  if (closed_) throw ExecutorShutdownError("the backend has been shut down");
  const Uids given = check(tasks);
  for (TaskDescription& task : tasks) {
    if (task.uid.empty()) task.uid = next_uid(given);
  }
  for (TaskDescription& task : tasks) {
    auto record = std::make_shared<TaskRecord>(std::move(task));
    if (record->options.name.empty()) record->options.name = record->result.uid;
    record->result.submitted_at = now;
    records.push_back(std::move(record));
  }
  const std::size_t size = entries_.size() + records.size();
  // Twice as many at least, and never fewer: reserve() would go down, too, and bring all of them to new places each time.
  if (static_cast<float>(size) > static_cast<float>(entries_.bucket_count()) * entries_.max_load_factor())
    entries_.reserve(std::max(size, 2 * entries_.size()));
  std::size_t entered = 0;
  try {
    for (; entered < records.size(); ++entered) {
      const auto [place, is_new] = entries_.try_emplace(records[entered]->result.uid);
      TaskEntry& entry = place->second;
      if (!is_new) {
        history_.remove(entry);
        --remembered_;
      }
      entry.uid = &place->first;
      entry.state = TaskState::pending;
      entry.record = records[entered];
      entry.record->entry = &entry;
      live_.push_back(entry);
    }
  } catch (...) {
    while (entered > 0) forget(*records[--entered]);
    throw;
  }
  unfinished_ += records.size();
  used_ = used_ || !records.empty();
  return records;
}

void TaskRegistry::withdraw(const Records& records) noexcept {
  {
    std::lock_guard lock(mutex_);
    for (const auto& record : records) forget(*record);
  }
  for (std::size_t i = 0; i < records.size(); ++i) one_less();
}

// Under the lock; somebody else must have the record, too, so that it is not destroyed here.
void TaskRegistry::forget(const TaskRecord& record) noexcept {
  const auto place = entries_.find(record.result.uid);
  live_.remove(place->second);
  entries_.erase(place);
}

void TaskRegistry::set_body(TaskRecord& record, const AsyncFuture<void>& body) {
  std::unique_lock lock(mutex_);
  record.body = body;
  if (!record.stop_asked) return;
  lock.unlock();
  body.cancel();
}

// ---------------------------------------------------------------------------------------------------------------------
// Running

void TaskRegistry::started(TaskRecord& record) noexcept {
  record.scope.store(thread_context().current, std::memory_order_relaxed);  // relaxed: for those on this very thread
  ++record.result.attempts;
  if (record.result.attempts > 1) return;
  record.result.started_at = now();
  {
    std::lock_guard lock(mutex_);
    record.entry->state = TaskState::running;
  }
  tell(record, TaskState::running);
}

void TaskRegistry::finished(TaskRecord& record, TaskState state) noexcept {
  record.work = FunctionTask();  // the callable and its arguments, before anybody sees the result
  record.scope.store(nullptr, std::memory_order_relaxed);  // relaxed: as above
  TaskResult& result = record.result;
  result.finished_at = now();
  if (result.attempts == 0) result.started_at = result.finished_at;
  std::shared_ptr<TaskRecord> kept;
  {
    std::lock_guard lock(mutex_);
    TaskEntry& entry = *std::exchange(record.entry, nullptr);
    entry.state = state;
    kept = std::move(entry.record);
    live_.remove(entry);
    history_.push_back(entry);
    ++remembered_;
    while (remembered_ > history_limit_) {
      const TaskEntry* const oldest = history_.pop_front();
      --remembered_;
      entries_.erase(entries_.find(*oldest->uid));
    }
  }
  tell(record, state);
  try {
    record.promise.set_result(std::move(result));
  } catch (...) {
    // Its future was cancelled, and does not want it; there may be no memory left to say so.
  }
  one_less();
}

void TaskRegistry::one_less() noexcept {
  bool last = false;
  {
    std::lock_guard lock(mutex_);
    last = --unfinished_ == 0 && closed_;
  }
  if (last) all_finished_.set_result();
}

// ---------------------------------------------------------------------------------------------------------------------
// Telling

void TaskRegistry::add_callback(const TaskCallback& callback) {
  if (!callback) throw std::invalid_argument("callback must not be empty");
  const auto current = [this] {
    std::lock_guard lock(mutex_);
    return callbacks_;
  };
  // They are copied, and destroyed, without the lock: both are the user's code, which may call us. Again, when somebody
  // else has added one meanwhile.
  for (std::shared_ptr<const Callbacks> known = current();; known = current()) {
    auto more = std::make_shared<Callbacks>();
    more->reserve(known->size() + 1);
    *more = *known;
    more->push_back(callback);
    std::lock_guard lock(mutex_);
    if (callbacks_ != known) continue;
    callbacks_ = std::move(more);
    return;
  }
}

void TaskRegistry::tell(TaskRecord& record, TaskState state) noexcept {
  record.result.state = state;
  std::shared_ptr<const Callbacks> callbacks;
  {
    std::lock_guard lock(mutex_);
    callbacks = callbacks_;
  }
  const TaskRegistry* const outer = std::exchange(calling_back, this);
  for (const TaskCallback& callback : *callbacks) {
    try {
      callback(record.result, state);
    } catch (...) {
      report_callback_exception(home_ != nullptr ? home_ : thread_context().scheduler);
    }
  }
  calling_back = outer;
}

// ---------------------------------------------------------------------------------------------------------------------
// Stopping

// Whether it was not finished.
bool TaskRegistry::cancel(TaskRecord& record) {
  AsyncFuture<void> body;
  {
    std::lock_guard lock(mutex_);
    body = record.body;
    if (!body.valid()) {
      record.stop_asked = true;
      return true;
    }
  }
  return body.cancel();
}

bool TaskRegistry::cancel(const std::string& uid) {
  std::shared_ptr<TaskRecord> record;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(uid);
    if (found == entries_.end()) return false;
    record = found->second.record;
  }
  return record != nullptr && cancel(*record);
}

// The newest first: what has not started is not to start because what runs has been stopped. Allocates nothing, since
// shutdown() does it: a place of our own in the list, which goes from its end to its beginning, says where we are. What is
// submitted meanwhile comes after it.
std::size_t TaskRegistry::cancel_all() noexcept {
  std::size_t asked = 0;
  TaskEntry here;
  std::unique_lock lock(mutex_);
  live_.push_back(here);
  while (TaskEntry* const next = here.previous) {
    live_.remove(here);
    live_.insert_before(*next, here);
    std::shared_ptr<TaskRecord> record = next->record;
    if (record == nullptr) continue;  // somebody else's place
    lock.unlock();
    if (cancel(*record)) ++asked;
    record.reset();
    lock.lock();
  }
  live_.remove(here);
  return asked;
}

void TaskRegistry::close() noexcept {
  bool last = false;
  {
    std::lock_guard lock(mutex_);
    last = !closed_ && unfinished_ == 0;
    closed_ = true;
  }
  if (last) all_finished_.set_result();
}

void TaskRegistry::wait_until_finished() {
  if (!called_from_inside()) all_finished_.get_future().wait();
}

bool TaskRegistry::called_from_inside() const {
  if (calling_back == this) return true;
  const ThreadContext& context = thread_context();
  std::lock_guard lock(mutex_);
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& each) {
    if (each.second.record == nullptr) return false;
    const Scope* const scope =
        each.second.record->scope.load(std::memory_order_relaxed);  // relaxed: set on this thread
    return scope != nullptr && (scope == context.current || BlockedTask::any_is(context.blocked, *scope));
  });
}

std::optional<TaskState> TaskRegistry::task_state(const std::string& uid) const {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(uid);
  return found == entries_.end() ? std::nullopt : std::optional(found->second.state);
}

BackendState TaskRegistry::state() const {
  std::lock_guard lock(mutex_);
  return closed_ ? BackendState::shutdown : used_ ? BackendState::running : BackendState::initialized;
}

}  // namespace cohort::detail
