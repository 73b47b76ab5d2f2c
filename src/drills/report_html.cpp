#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/escape.h"
#include "drills/figures.h"
#include "drills/report.h"

namespace mainstay::drills {
namespace {

constexpr std::size_t findings_shown_max = 200;

constexpr std::string_view style = R"css(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5b6776;--rule:#e1e5ea;
--good:#12784a;--good-tint:#e3f4ea;--bad:#b3261e;--bad-tint:#fbe7e5;
--in:#2b6cd4;--out:#13875a;--lag:#b86e00;--kill:#c62828;--promotion:#6a3fb5;--replay:#b86e00;--first:#12784a}
@media (prefers-color-scheme:dark){:root{--page:#11161d;--card:#19202a;--ink:#e6ebf1;--soft:#9aa7b6;--rule:#2b3644;
--good:#5fd39a;--good-tint:#15352a;--bad:#ff8a80;--bad-tint:#43201f;
--in:#6fa8ff;--out:#4cc38a;--lag:#f0a740;--kill:#ff6b61;--promotion:#b497f5;--replay:#f0a740;--first:#5fd39a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 56px}
header{display:flex;flex-wrap:wrap;gap:8px 20px;align-items:center;margin-bottom:4px}
h1{font-size:26px;line-height:1.2;margin:0;font-weight:650}
h2{font-size:16px;margin:0 0 12px;font-weight:650}
.verdict{padding:4px 14px;border-radius:999px;font-weight:650;font-size:14px}
.verdict.good{background:var(--good-tint);color:var(--good)}
.verdict.bad{background:var(--bad-tint);color:var(--bad)}
.summary{color:var(--soft);margin:4px 0 24px;max-width:75ch}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:20px 22px;margin:0 0 18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(152px,1fr));gap:12px;margin:0 0 18px}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:14px 16px}
.tile b{display:block;font-size:23px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.tile.good b{color:var(--good)}.tile.bad b{color:var(--bad)}
table{border-collapse:collapse;width:100%}
td,th{padding:7px 10px;border-top:1px solid var(--rule);text-align:left;vertical-align:top}
tr:first-child>td{border-top:0}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;font-weight:600}
td.name{white-space:nowrap}
td.note{color:var(--soft)}
tr.good td.n{color:var(--good)}tr.bad td.n{color:var(--bad)}
td.t{font-variant-numeric:tabular-nums;text-align:right;white-space:nowrap;color:var(--soft);width:1%}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:0;padding:12px 14px;background:var(--page);border:1px solid var(--rule);border-radius:8px;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
td code{overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;color:var(--soft);font-size:13px;margin:-4px 0 10px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
#readout{margin-left:auto;font-variant-numeric:tabular-nums;min-height:1.5em}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:12px system-ui,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}
svg .title{font-size:12px}
svg .grid{stroke:var(--rule);stroke-width:1}svg .base{stroke:var(--soft);stroke-width:1}
svg .line{fill:none;stroke-width:1.6;stroke-linejoin:round}svg .fill{opacity:.14}
svg .in{stroke:var(--in)}svg .out{stroke:var(--out)}svg .lag{stroke:var(--lag)}
svg .fill.in{fill:var(--in);stroke:none}svg .fill.out{fill:var(--out);stroke:none}svg .fill.lag{fill:var(--lag);stroke:none}
svg .gap{fill:var(--kill);opacity:.08}
svg .mark line{stroke:var(--soft);stroke-width:1.4;stroke-dasharray:4 3}svg .mark text{font-weight:600;fill:var(--soft)}
svg .kill line{stroke:var(--kill);stroke-dasharray:none;stroke-width:2}svg .kill text{fill:var(--kill)}
svg .one line{stroke:var(--kill);stroke-dasharray:none;stroke-width:1;opacity:.45}
svg .promotion line{stroke:var(--promotion)}svg .promotion text{fill:var(--promotion)}
svg .replay line{stroke:var(--replay)}svg .replay text{fill:var(--replay)}
svg .first line{stroke:var(--first)}svg .first text{fill:var(--first)}
#cursor{stroke:var(--ink);stroke-width:1;visibility:hidden}
.chart{overflow-x:auto}
@media (max-width:700px){main{padding:20px 12px}section{padding:16px 14px}.chart svg{min-width:640px}
table.result tr{display:grid;grid-template-columns:1fr auto;border-top:1px solid var(--rule)}table.result tr:first-child{border-top:0}
table.result td{border-top:0}table.result td.note{grid-column:1/-1;padding-top:0}table.result td.note:empty{display:none}
td.name{white-space:normal}}
@media print{body{background:#fff}section,.tile{break-inside:avoid}}
)css";

// Shows the sample under the pointer. The page is complete without it.
constexpr std::string_view script = R"js(
(function(){var s=JSON.parse(document.getElementById('samples').textContent),v=document.getElementById('timeline'),
c=document.getElementById('cursor'),r=document.getElementById('readout');if(!v||!s.points.length)return;
v.addEventListener('mousemove',function(e){var b=v.getBoundingClientRect(),x=(e.clientX-b.left)/b.width*1000;
if(x<62||x>984){return}
var t=(x-62)/922*s.end,lo=0,hi=s.points.length-1;while(lo<hi){var m=(lo+hi)>>1;if(s.points[m][0]<t)lo=m+1;else hi=m}
var p=s.points[lo];c.setAttribute('x1',x);c.setAttribute('x2',x);c.style.visibility='visible';
r.textContent=p[0].toFixed(1)+' s: '+p[1].toLocaleString('en')+' in, '+p[2].toLocaleString('en')+' delivered'+
(p[3]===null?'':', lag '+p[3].toLocaleString('en'))});
v.addEventListener('mouseleave',function(){c.style.visibility='hidden';r.textContent=''})})();
)js";

std::string_view css_class(ResultRow::Tone tone) {
  return tone == ResultRow::Tone::good ? "good" : tone == ResultRow::Tone::bad ? "bad" : "plain";
}

void tile(std::string& out, std::string_view tone, std::string_view value, std::string_view label) {
  out += fmt::format("<div class=\"tile {}\"><b>{}</b><span>{}</span></div>\n", tone, escaped_xml(value),
                     escaped_xml(label));
}

void tiles(std::string& out, const DrillReport& report) {
  const AuditReport& audit = report.audit;
  out += "<div class=\"tiles\">\n";
  tile(out, "plain", grouped(audit.in), "messages in");
  tile(out, audit.delivered == audit.unique ? "good" : "bad", grouped(audit.delivered),
       audit.delivered == audit.unique ? "delivered: all that must be"
                                       : "delivered of " + grouped(audit.unique));
  tile(out, audit.lost.empty() ? "good" : "bad", grouped(audit.lost.size()), "lost");
  tile(out, audit.repeated.empty() ? "good" : "bad", grouped(audit.repeated.size()), "repeated");
  tile(out, audit.reordered.empty() ? "good" : "bad", grouped(audit.reordered.size()), "reordered");
  if (report.region_lost)
    tile(out, report.rto_s && *report.rto_s <= report.targets.rto_own_s ? "good" : "bad",
         report.rto_s ? readable_seconds(*report.rto_s) : "never", "RTO: kill to first delivery");
  out += "</div>\n";
}

void result_table(std::string& out, const DrillReport& report) {
  out += "<section><h2>Result</h2><table class=\"result\">\n";
  for (const ResultRow& row : result_rows(report))
    out += fmt::format(
        "<tr class=\"{}\"><td class=\"name\">{}</td><td class=\"n\">{}</td><td class=\"note\">{}</td></tr>\n",
        css_class(row.tone), escaped_xml(row.name), escaped_xml(row.value), escaped_xml(row.note));
  out += "</table></section>\n";
}

void timeline(std::string& out, const DrillReport& report) {
  out +=
      "<section><h2>Timeline</h2><div class=\"legend\">"
      "<span><i style=\"background:var(--in)\"></i>entered the source</span>"
      "<span><i style=\"background:var(--out)\"></i>arrived at the destination</span>"
      "<span><i style=\"background:var(--lag)\"></i>replication lag</span>";
  if (std::ranges::find(report.marks, MarkKind::kill, &Mark::kind) != report.marks.end())
    out += "<span><i style=\"background:var(--kill);opacity:.25\"></i>nothing delivered</span>";
  if (std::ranges::find(report.marks, MarkKind::process_kill, &Mark::kind) != report.marks.end())
    out += "<span><i style=\"background:var(--kill)\"></i>a process killed</span>";
  out += "<span id=\"readout\"></span></div>\n";
  out += "<div class=\"chart\">\n" + timeline_svg(report) + "</div>\n";
  out += "</section>\n";
}

void steps(std::string& out, const DrillReport& report) {
  if (report.steps.empty()) return;
  out += "<section><h2>What was done when</h2><table>\n";
  for (const Step& step : report.steps)
    out +=
        fmt::format("<tr><td class=\"t\">{:.2f} s</td><td>{}</td></tr>\n", step.at_s, escaped_xml(step.text));
  out += "</table></section>\n";
}

void findings(std::string& out, const DrillReport& report) {
  if (!report.broken.empty()) {
    out += "<section><h2>Promises broken</h2><table>\n";
    for (const std::string& promise : report.broken)
      out += fmt::format("<tr><td>{}</td></tr>\n", escaped_xml(promise));
    out += "</table></section>\n";
  }
  const AuditReport& audit = report.audit;
  const std::pair<std::string_view, const std::vector<Finding>*> all[] = {
      {"Lost", &audit.lost},
      {"Repeated", &audit.repeated},
      {"Reordered", &audit.reordered},
      {"Corrupted", &audit.corrupted},
      {"Unexpected", &audit.unexpected},
      {"Sources that disagree", &audit.disagreements}};
  for (const auto& [name, list] : all) {
    if (list->empty()) continue;
    out += fmt::format("<section><h2>{}: {}</h2><table>\n", name, grouped(list->size()));
    const std::size_t shown = std::min(findings_shown_max, list->size());
    for (std::size_t i = 0; i < shown; ++i)
      out += fmt::format("<tr><td><code>{}</code></td><td class=\"note\">{}</td></tr>\n",
                         escaped_xml((*list)[i].key), escaped_xml((*list)[i].what));
    out += "</table>";
    if (shown < list->size())
      out += fmt::format("<p class=\"note\">The first {} of {}; report.json has all.</p>", grouped(shown),
                         grouped(list->size()));
    out += "</section>\n";
  }
}

void environment(std::string& out, const DrillReport& report) {
  const Environment& of = report.environment;
  out += "<section><h2>Where and how</h2><table>\n";
  const std::pair<std::string_view, std::string> rows[] = {{"started", readable_time(report.started_wall_ms)},
                                                           {"took", readable_seconds(report.duration_s)},
                                                           {"seed", std::to_string(report.seed)},
                                                           {"processor", of.cpu},
                                                           {"memory", of.memory},
                                                           {"disk", of.disk},
                                                           {"kernel", of.kernel},
                                                           {"version", of.version}};
  for (const auto& [name, value] : rows)
    out += fmt::format("<tr><td class=\"name note\">{}</td><td>{}</td></tr>\n", name, escaped_xml(value));
  out += fmt::format("</table></section>\n<section><h2>To do the same again</h2><pre>{}</pre></section>\n",
                     escaped_xml(report.command));
}

/// The samples for the script, in a form that can't end the script element early.
std::string samples_json(const DrillReport& report) {
  boost::json::array points;
  for (const Sample& sample : report.samples)
    points.push_back(
        {sample.at_s, sample.entered, sample.delivered,
         sample.lag_records ? boost::json::value(*sample.lag_records) : boost::json::value(nullptr)});
  double end_s = std::max(report.duration_s, 1.0);
  if (!report.samples.empty()) end_s = std::max(end_s, report.samples.back().at_s);
  return boost::json::serialize(boost::json::object{{"end", end_s}, {"points", std::move(points)}});
}

}  // namespace

std::string html_of(const DrillReport& report) {
  const std::string verdict = report.clean()           ? "Clean: nothing lost, repeated or reordered"
                              : report.failure.empty() ? "Not clean"
                                                       : "Could not finish";
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n<title>Drill: {} — "
      "{}</title>\n<style>{}</style></head>\n<body><main>\n"
      "<header><h1>Drill: {}</h1><span class=\"verdict {}\">{}</span></header>\n<p "
      "class=\"summary\">{}</p>\n",
      escaped_xml(report.drill), verdict, style, escaped_xml(report.drill), report.clean() ? "good" : "bad",
      verdict, escaped_xml(report.summary));
  if (!report.failure.empty())
    out += fmt::format("<section><h2>Why it did not finish</h2><pre>{}</pre></section>\n",
                       escaped_xml(report.failure));
  // A drill that never got going has no figures; zeros would look like a good result.
  if (report.audit.in > 0) tiles(out, report);
  if (!report.samples.empty()) timeline(out, report);
  if (report.audit.in > 0) result_table(out, report);
  findings(out, report);
  steps(out, report);
  environment(out, report);
  out += fmt::format(
      "</main>\n<script type=\"application/json\" "
      "id=\"samples\">{}</script>\n<script>{}</script>\n</body></html>\n",
      samples_json(report), script);
  return out;
}

}  // namespace mainstay::drills
