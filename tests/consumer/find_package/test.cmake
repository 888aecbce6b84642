include(${CMAKE_CURRENT_LIST_DIR}/../common.cmake)

configure(
  ${CMAKE_CURRENT_LIST_DIR} ${WORK}/find_package -D CMAKE_PREFIX_PATH=${WORK}/moved -D COHORT_VERSION=${COHORT_VERSION}
)
build(${WORK}/find_package)
run_program(${WORK}/find_package)
