#include "api.h"

#include <cstdlib>
#include <iostream>

namespace {

std::string text(const grpc::Status& status) {
  return std::to_string(status.error_code()) + " " + status.error_message();
}

std::string endpoint() {
  const char* address = std::getenv("SPIFFE_ENDPOINT_SOCKET");
  if (address == nullptr) fail("SPIFFE_ENDPOINT_SOCKET is not set");
  return address;
}

}  // namespace

void fail(const std::string& why) {
  std::cerr << "error: " << why << std::endl;
  std::_Exit(1);
}

std::string trust_domain(const std::string& id) { return id.substr(0, id.find('/', std::string("spiffe://").size())); }

std::string bundle(const google::protobuf::Map<std::string, std::string>& bundles, const std::string& domain) {
  auto found = bundles.find(domain);
  return found == bundles.end() ? std::string() : found->second;
}

template <class Message>
void Latest<Message>::follow(const Open& open) {
  while (true) {
    grpc::ClientContext context;
    Api::with_header(context);
    auto reader = open(&context);
    for (Message message; reader->Read(&message);) {
      std::lock_guard<std::mutex> locked(mutex_);
      message_ = message;
    }
    grpc::Status status = reader->Finish();
    if (status.error_code() != grpc::PERMISSION_DENIED) fail("a stream ended: " + text(status));
    std::this_thread::sleep_for(PAUSE);
  }
}

Api::Api() : stub(SpiffeWorkloadAPI::NewStub(grpc::CreateChannel(endpoint(), grpc::InsecureChannelCredentials()))) {}

void Api::with_header(grpc::ClientContext& context, const std::vector<std::string>& values) {
  for (const auto& value : values) context.AddMetadata("workload.spiffe.io", value);
}

JWTSVID Api::token(const std::string& audience) {
  grpc::ClientContext context;
  with_header(context);
  JWTSVIDRequest request;
  request.add_audience(audience);
  JWTSVIDResponse response;
  grpc::Status status = stub->FetchJWTSVID(&context, request, &response);
  if (!status.ok() || response.svids().empty()) fail("no token: " + text(status));
  return response.svids(0);
}

std::string Api::validate(const std::string& audience, const std::string& token) {
  grpc::ClientContext context;
  with_header(context);
  ValidateJWTSVIDRequest request;
  request.set_audience(audience);
  request.set_svid(token);
  ValidateJWTSVIDResponse response;
  grpc::Status status = stub->ValidateJWTSVID(&context, request, &response);
  if (status.error_code() == grpc::INVALID_ARGUMENT) throw Refused(status.error_message());
  if (!status.ok()) fail("a token was not validated: " + text(status));
  if (response.claims().fields().at("sub").string_value() != response.spiffe_id()) fail("the subject is not the ID");
  return response.spiffe_id();
}

void Api::must_not_validate(const std::string& audience, const std::string& token) {
  try {
    validate(audience, token);
  } catch (const Refused&) {
    return;
  }
  fail("a token validates for " + audience);
}

Streams::Streams(Api& api)
    : svids([&api](grpc::ClientContext* context) { return api.stub->FetchX509SVID(context, X509SVIDRequest()); }),
      x509_bundles([&api](grpc::ClientContext* context) { return api.stub->FetchX509Bundles(context, X509BundlesRequest()); }),
      jwt_bundles([&api](grpc::ClientContext* context) { return api.stub->FetchJWTBundles(context, JWTBundlesRequest()); }) {}

template class Latest<X509SVIDResponse>;
template class Latest<X509BundlesResponse>;
template class Latest<JWTBundlesResponse>;
