#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/task.hpp>

#include <string_view>  // for std::string_view
#include <utility>      // for std::move

namespace cohort::detail {

/// Submits a task to a pool: its frame becomes the shared state of the future, and nothing more is allocated.
template <class Pool, class T>
AsyncFuture<T> submit_to(Pool& pool, Task<T> task, std::string_view name = {}) {
  StateBase* const state = TaskAccess::state(task);
  if (state == nullptr) throw_invalid_argument("task must not have been moved from, awaited or submitted already");
  begin_root(*state, pool);  // one reference for the future, one for the pool
  try {
    if (name.empty()) {
      pool.submit(*state);
    } else {
      pool.submit(*state, name);
    }
  } catch (...) {
    state->role = Role::child;  // it is only a task again, and goes with it
    throw;
  }
  return FutureAccess::adopt<T>(*TaskAccess::release(task));
}

/// Keeps a pool's memory; not the pool running.
template <class Pool>
class PoolReference {
 public:
  explicit PoolReference(Pool& pool) noexcept : pool_(&pool) { pool_->add_reference(); }
  PoolReference(const PoolReference&) = delete;
  PoolReference& operator=(const PoolReference&) = delete;
  ~PoolReference() { pool_->drop_reference(); }

  [[nodiscard]] Pool& operator*() const noexcept { return *pool_; }

 private:
  Pool* pool_;
};

}  // namespace cohort::detail
