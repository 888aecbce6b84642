#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/plain_call.hpp>
#include <cohort/detail/state.hpp>

#include <string_view>  // for std::string_view
#include <utility>      // for std::move

namespace cohort::detail {

/// Submits a task to a pool: its block holds the shared state of the future, and nothing more is allocated. With `name`,
/// if there is one, for diagnostics.
template <class Pool, class T, class... Name>
AsyncFuture<T> submit_to(Pool& pool, Submission<T> task, Name... name) {
  StateBase* const state = task.state();
  if (state == nullptr) throw_invalid_argument("task must not have been moved from, awaited or submitted already");
  begin_root(*state, pool);  // one reference for the future, one for the pool
  pool.submit(*state, name...);
  return FutureAccess::adopt<T>(*task.release());
}
template <class Pool, class T>
AsyncFuture<T> submit_to(Pool& pool, Task<T>&& task) {
  return submit_to(pool, Submission<T>(std::move(task)));
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
