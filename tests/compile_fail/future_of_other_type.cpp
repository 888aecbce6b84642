// error: (no match for [^ ]*operator=|no viable overloaded)
// A future of a string does not become a future of an int.
#include <cohort/async_future.hpp>

#include <string>

void test(cohort::AsyncFuture<int> number, cohort::AsyncFuture<std::string> text) {
#ifdef COHORT_MISTAKE
  number = text;
#endif
}
