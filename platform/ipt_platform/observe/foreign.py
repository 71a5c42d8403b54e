"""Metrics of others that our alerts and dashboards ask for: Ray's, node exporter's, DCGM's and Prometheus' own.

Those of Ray are what its dashboards ask for (`ray/dashboard/modules/metrics/dashboards` of Ray 2.60). Those of DCGM are on in
the default counters of dcgm-exporter, but `DCGM_FI_DEV_ECC_DBE_VOL_TOTAL`, which is to be switched on there. Of the labels only
those are named that we may ask for.
"""

_RAY = ("instance", "job", "SessionName")
_GPU = ("instance", "job", "gpu", "Hostname", "modelName", "UUID")
_DATA = (*_RAY, "dataset", "operator")

FOREIGN: dict[str, tuple[str, ...]] = {
    "up": ("instance", "job"),
    "ALERTS": ("alertname", "alertstate", "severity", "job", "task", "instance"),
    "ray_resources": (*_RAY, "Name", "State"),
    "ray_object_store_memory": (*_RAY, "Location"),
    "ray_memory_manager_worker_eviction_total": (*_RAY, "Name", "Type"),
    "ray_node_cpu_utilization": _RAY,
    "ray_node_mem_used": _RAY,
    "ray_node_mem_total": _RAY,
    "ray_data_output_rows": _DATA,
    "ray_data_cpu_usage_cores": _DATA,
    "ray_data_current_bytes": _DATA,
    "ray_data_task_output_backpressure_time": _DATA,
    "node_load1": ("instance", "job"),
    "node_memory_MemAvailable_bytes": ("instance", "job"),
    "node_memory_MemTotal_bytes": ("instance", "job"),
    "node_filesystem_avail_bytes": ("instance", "job", "device", "fstype", "mountpoint"),
    "node_network_receive_bytes_total": ("instance", "job", "device"),
    "node_network_transmit_bytes_total": ("instance", "job", "device"),
    "DCGM_FI_DEV_GPU_UTIL": _GPU,
    "DCGM_FI_DEV_FB_USED": _GPU,
    "DCGM_FI_DEV_POWER_USAGE": _GPU,
    "DCGM_FI_DEV_GPU_TEMP": _GPU,
    "DCGM_FI_DEV_XID_ERRORS": (*_GPU, "err_code", "err_msg"),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": _GPU,
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": _GPU,
}
"""Labels by the name of the metric."""
