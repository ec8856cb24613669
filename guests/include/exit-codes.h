/* What an image writes to the debug-exit port. */
#pragma once

#define EXIT_PASSED 0
#define EXIT_FAILED 1
/* The command line, or a feature that the image cannot do without. */
#define EXIT_REFUSED 2
/* Plus the vector of an exception in L1 that nobody expected. */
#define EXIT_EXCEPTION 64
