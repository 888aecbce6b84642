// All the contenders that there are on this machine. Those that are missing have no type; COHORT_BENCHMARK_… tells.
#pragma once

#include "cohort.hpp"
#include "serial.hpp"
#include "std_async.hpp"

#if COHORT_BENCHMARK_TBB
#include "tbb.hpp"
#endif
#if COHORT_BENCHMARK_ASIO
#include "asio.hpp"
#endif
#if COHORT_BENCHMARK_PLAIN_POOL
#include "plain_pool.hpp"
#endif

namespace contenders {

/// Calls `add.template operator()<Pool>()` for each contender that takes callables from any thread and gives a future
/// for each, but std::async.
template <class Add>
void for_each_pool(Add add) {
  add.template operator()<Cohort>();
#if COHORT_BENCHMARK_TBB
  add.template operator()<TbbEnqueue>();
#endif
#if COHORT_BENCHMARK_ASIO
  add.template operator()<Asio>();
#endif
#if COHORT_BENCHMARK_PLAIN_POOL
  add.template operator()<PlainPool>();
#endif
}

}  // namespace contenders
