// error: deleted .*Permit
// A permit is given back once, so it has one owner.
#include <cohort/semaphore.hpp>
#include <cohort/task.hpp>

#include <utility>

cohort::Task<> test(cohort::Semaphore& semaphore) {
  auto permit = co_await semaphore.acquire();
#ifdef COHORT_MISTAKE
  auto other = permit;
#else
  auto other = std::move(permit);
#endif
}
