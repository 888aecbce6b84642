// error: deleted .*ResultStream
// Each result comes out of a stream once, so the stream has one owner.
#include <cohort/cohort.hpp>

#include <utility>
#include <vector>

int twice(int x) { return 2 * x; }

void test(cohort::AsyncExecutor& executor) {
  cohort::ResultStream<int> stream = executor.map(twice, std::vector{1, 2});
#ifdef COHORT_MISTAKE
  cohort::ResultStream<int> other = stream;
#else
  cohort::ResultStream<int> other = std::move(stream);
#endif
}
