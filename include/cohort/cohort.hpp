#pragma once

/// @file
/// Everything. Convenient, and about twice what the standard headers under it cost to compile; a translation unit that
/// only defines tasks does with <cohort/task.hpp>.

#include <cohort/as_completed.hpp>
#include <cohort/async_executor.hpp>
#include <cohort/async_future.hpp>
#include <cohort/async_promise.hpp>
#include <cohort/concurrent_execution_backend.hpp>
#include <cohort/duration.hpp>
#include <cohort/errors.hpp>
#include <cohort/execution_backend.hpp>
#include <cohort/executor_snapshot.hpp>
#include <cohort/manual_pool.hpp>
#include <cohort/map.hpp>
#include <cohort/noop_execution_backend.hpp>
#include <cohort/semaphore.hpp>
#include <cohort/sleep.hpp>
#include <cohort/stop_token.hpp>
#include <cohort/submit_options.hpp>
#include <cohort/sync_wait.hpp>
#include <cohort/task.hpp>
#include <cohort/thread_pool.hpp>
#include <cohort/version.hpp>
#include <cohort/wait.hpp>
#include <cohort/when_all.hpp>
#include <cohort/when_any.hpp>
