// A workload on grpc++ and OpenSSL, which are not ours: what they refuse, Plastron's Workload API gave wrongly.
//
//     SPIFFE_ENDPOINT_SOCKET=unix:PATH client workload AUDIENCE
//     SPIFFE_ENDPOINT_SOCKET=unix:PATH client peer FOLDER NAME OTHER ID
//
// It prints one line for each thing that it sees, and ends on SIGTERM: with status 0 where everything held.
#include <csignal>
#include <string>
#include <vector>

#include "api.h"
#include "workload.h"

int main(int count, char** values) {
  // Whoever refuses closes the connection.
  std::signal(SIGPIPE, SIG_IGN);
  std::vector<std::string> arguments(values + 1, values + count);
  if (arguments.size() == 2 && arguments[0] == "workload") workload(arguments[1]);
  if (arguments.size() == 5 && arguments[0] == "peer") meet(arguments[1], arguments[2], arguments[3], arguments[4]);
  fail("client workload AUDIENCE | client peer FOLDER NAME OTHER ID");
}
