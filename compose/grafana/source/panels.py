"""What the dashboards are made of: panels in rows, with what all of them share."""

import json
from urllib.parse import quote

WIDTH = 24
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
LOKI = {"type": "loki", "uid": "loki"}
JAEGER = {"type": "jaeger", "uid": "jaeger"}


def dashboard(uid, title, description, rows, variables=()):
    panels, y = [], 0
    for title_of_row, members in rows:
        panels.append(
            {"type": "row", "title": title_of_row, "collapsed": False, "panels": [], "gridPos": at(0, y, WIDTH, 1)}
        )
        x, y = 0, y + 1
        height = max(panel["gridPos"]["h"] for panel in members)
        for panel in members:
            width = panel["gridPos"]["w"]
            if x + width > WIDTH:
                x, y = 0, y + height
            panel["gridPos"] = at(x, y, width, height)
            panels.append(panel)
            x += width
        y += height
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": f"sagashop-{uid}",
        "title": title,
        "description": description,
        "tags": ["sagashop"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "timezone": "browser",
        "time": {"from": "now-30m", "to": "now"},
        "links": [
            {
                "title": "Sagashop",
                "type": "dashboards",
                "tags": ["sagashop"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": list(variables)},
        "annotations": {"list": [ALERTS]},
        "panels": panels,
    }


ALERTS = {
    "name": "Alerts",
    "datasource": PROMETHEUS,
    "enable": True,
    "iconColor": "red",
    "expr": 'sum by (alertname, severity) (ALERTS{alertstate="firing"})',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{severity}}",
}


def variable(name, label, query):
    """A choice of label values; all of them at first."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": PROMETHEUS,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def at(x, y, w, h):
    return {"x": x, "y": y, "w": w, "h": h}


def panel(kind, title, description, width, height, datasource, targets, **more):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": datasource,
        "gridPos": at(0, 0, width, height),
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": datasource, **of} for number, of in enumerate(targets)
        ],
        **more,
    }


def ranges(queries):
    """Prometheus' targets, of (legend, query) pairs."""
    return [{"expr": expr, "legendFormat": legend, "range": True} for legend, expr in queries]


def graph(title, description, *queries, unit="short", width=8, stacked=False, links=(), bound=None, zero=True):
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stacked else 8, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults = {"unit": unit, "custom": custom, "links": list(links)}
    if zero:
        defaults["min"] = 0
    if bound is not None:
        custom["thresholdsStyle"] = {"mode": "dashed"}
        defaults["thresholds"] = steps(("red", bound))
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel(
        "timeseries",
        title,
        description,
        width,
        8,
        PROMETHEUS,
        ranges(queries),
        fieldConfig={"defaults": defaults, "overrides": []},
        options=options,
    )


def stat(title, description, expr, unit="short", width=4, good=None, bad=None, decimals=None, link=None):
    """One number now. Below `good` it is red, from `bad` on it is."""
    thresholds = steps()
    if good is not None:
        thresholds = {"mode": "absolute", "steps": [{"color": "red", "value": None}, {"color": "green", "value": good}]}
    if bad is not None:
        thresholds = steps(("red", bad))
    defaults = {"unit": unit, "thresholds": thresholds, "links": [link] if link else []}
    if decimals is not None:
        defaults["decimals"] = decimals
    target = {"expr": expr, "legendFormat": title, "range": True}
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel(
        "stat",
        title,
        description,
        width,
        5,
        PROMETHEUS,
        [target],
        fieldConfig={"defaults": defaults, "overrides": []},
        options=options,
    )


def bars(title, description, *queries, unit="short", width=8, links=()):
    """One bar a series, of the range's end."""
    targets = [{"expr": expr, "legendFormat": legend, "instant": True, "range": False} for legend, expr in queries]
    defaults = {"unit": unit, "min": 0, "thresholds": steps(), "links": list(links)}
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel(
        "bargauge",
        title,
        description,
        width,
        8,
        PROMETHEUS,
        targets,
        fieldConfig={"defaults": defaults, "overrides": []},
        options=options,
    )


def heatmap(title, description, expr, unit="s", width=12):
    """A histogram's buckets over time."""
    target = {"expr": expr, "legendFormat": "{{le}}", "format": "heatmap", "range": True}
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Turbo",
            "steps": 64,
            "exponent": 0.5,
            "fill": "dark-orange",
            "reverse": False,
        },
        "yAxis": {"unit": unit, "axisPlacement": "left", "reverse": False},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
    }
    return panel(
        "heatmap",
        title,
        description,
        width,
        8,
        PROMETHEUS,
        [target],
        fieldConfig={"defaults": {}, "overrides": []},
        options=options,
    )


def logs(title, description, expr, width=24):
    options = {
        "showTime": True,
        "showLabels": False,
        "showCommonLabels": False,
        "wrapLogMessage": True,
        "prettifyLogMessage": False,
        "enableLogDetails": True,
        "sortOrder": "Descending",
        "dedupStrategy": "none",
    }
    return panel("logs", title, description, width, 10, LOKI, [{"expr": expr, "queryType": "range"}], options=options)


def log_graph(title, description, legend, expr, width=12):
    shown = graph(
        title,
        description,
        width=width,
        stacked=True,
        links=[to_logs("Logs", '{job="sagashop"} | json | level=~"WARN|ERROR"')],
    )
    shown["datasource"] = LOKI
    shown["targets"] = [{"refId": "A", "datasource": LOKI, "expr": expr, "legendFormat": legend, "queryType": "range"}]
    return shown


def traces(title, description, search, width=24):
    """The latest traces that a search in Jaeger finds; each is a link to itself."""
    target = {"queryType": "search", "limit": 20, **search}
    options = {"showHeader": True, "cellHeight": "sm"}
    return panel(
        "table",
        title,
        description,
        width,
        9,
        JAEGER,
        [target],
        fieldConfig={"defaults": {}, "overrides": []},
        options=options,
    )


def steps(*colours):
    first = {"color": "green", "value": None}
    return {"mode": "absolute", "steps": [first, *({"color": colour, "value": value} for colour, value in colours)]}


def to_logs(title, expr):
    """A link from a panel, or a series of it, to its logs at the same time."""
    return explore(title, LOKI, {"expr": expr, "queryType": "range"})


def to_traces(title, search):
    return explore(title, JAEGER, {"queryType": "search", "limit": 20, **search})


def explore(title, datasource, query):
    pane = {
        "datasource": datasource["uid"],
        "queries": [{"refId": "A", "datasource": datasource, **query}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    # Grafana fills in its own variables: they must stay readable.
    panes = quote(json.dumps({"a": pane}), safe="${}:._")
    return {"title": title, "url": f"/explore?schemaVersion=1&orgId=1&panes={panes}", "targetBlank": True}
