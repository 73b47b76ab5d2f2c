// Small hand-written messages for the tests of this room.
#pragma once

#include <string>
#include <string_view>

#include "base/assert.h"
#include "payments/message.h"

namespace mainstay::payments::samples {

inline constexpr std::string_view kUetr = "3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81";
inline constexpr std::string_view kOtherUetr = "3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a82";

inline const std::string kBasic = "{1:F01AAAADEFFAXXX0001000042}";
inline const std::string kOutput = "{2:O1031200261120BBBBFRPPCXXX00020000032611201201N}";

/// MT 103 from AAAADEFF to BBBBFRPP.
inline const std::string kMt103 =
    "{1:F01AAAADEFFAXXX0001000042}{2:I103BBBBFRPPXXXXN}{3:{108:MUR1}{121:3f1c7b0e-9a54-4c1d-8a7e-"
    "0b9d5e6f7a81}}{4:\r\n"
    ":20:PAY1\r\n"
    ":23B:CRED\r\n"
    ":32A:261120EUR100,50\r\n"
    ":50K:/00123\r\n"
    "ANNA SCHMIDT\r\n"
    ":59:/DE02100100100006820101\r\n"
    "BERT MEYER\r\n"
    ":70:INVOICE 17\r\n"
    ":71A:SHA\r\n"
    "-}{5:{CHK:0123456789AB}}";

/// pacs.008 with a business header, from AAAADEFF to BBBBFRPP.
inline const std::string kPacs008 =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<Envelope>\n"
    "<AppHdr xmlns=\"urn:iso:std:iso:20022:tech:xsd:head.001.001.02\">\n"
    "<Fr><FIId><FinInstnId><BICFI>AAAADEFF</BICFI></FinInstnId></FIId></Fr>\n"
    "<To><FIId><FinInstnId><BICFI>BBBBFRPPXXX</BICFI></FinInstnId></FIId></To>\n"
    "<BizMsgIdr>MSG1</BizMsgIdr>\n"
    "<MsgDefIdr>pacs.008.001.08</MsgDefIdr>\n"
    "<BizSvc>swift.cbprplus.stp.02</BizSvc>\n"
    "<CreDt>2026-11-20T12:00:00+01:00</CreDt>\n"
    "</AppHdr>\n"
    "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pacs.008.001.08\">\n"
    "<FIToFICstmrCdtTrf>\n"
    "<GrpHdr><MsgId>MSG1</MsgId><CreDtTm>2026-11-20T12:00:00</CreDtTm><NbOfTxs>1</NbOfTxs></GrpHdr>\n"
    "<CdtTrfTxInf>\n"
    "<PmtId><InstrId>I1</InstrId><EndToEndId>E1</EndToEndId><UETR>3f1c7b0e-9a54-4c1d-8a7e-0b9d5e6f7a81</"
    "UETR></PmtId>\n"
    "<IntrBkSttlmAmt Ccy=\"EUR\">100.50</IntrBkSttlmAmt><IntrBkSttlmDt>2026-11-20</IntrBkSttlmDt>\n"
    "<Dbtr><Nm>Anna Schmidt</Nm></Dbtr>\n"
    "<DbtrAgt><FinInstnId><BICFI>AAAADEFF</BICFI></FinInstnId></DbtrAgt>\n"
    "<CdtrAgt><FinInstnId><BICFI>BBBBFRPPXXX</BICFI></FinInstnId></CdtrAgt>\n"
    "<Cdtr><Nm>Bert Meyer</Nm></Cdtr>\n"
    "</CdtTrfTxInf>\n"
    "</FIToFICstmrCdtTrf>\n"
    "</Document>\n"
    "</Envelope>\n";

/// `text` with the first `what` replaced; `what` must be there, so that no test passes for the wrong reason.
inline std::string with(std::string text, std::string_view what, std::string_view by) {
  const std::size_t at = text.find(what);
  MS_ASSERT(at != std::string::npos, "the sample has what the test replaces");
  return text.replace(at, what.size(), by);
}

/// A user message of another type around these lines of block 4.
inline std::string mt(std::string_view type, const std::string& lines, const std::string& user_header = "") {
  return "{1:F01AAAADEFFAXXX0001000042}{2:I" + std::string(type) + "BBBBFRPPXXXXN}" + user_header +
         "{4:\r\n" + lines + "-}";
}

/// The only message of `text`; without its raw bytes, which do not outlive the call.
inline Message only(const std::string& text, const Limits& limits = {}) {
  std::vector<Message> messages = read_messages(as_bytes(text), limits);
  MS_ASSERT(messages.size() == 1, "one message expected");
  messages[0].raw = {};
  return messages[0];
}

inline std::string code(const std::string& text) {
  return only(text).code;
}

}  // namespace mainstay::payments::samples
