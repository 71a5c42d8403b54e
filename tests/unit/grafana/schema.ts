import * as raw from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import * as common from './node_modules/@grafana/schema/dist/types/common/common.gen';
import * as timeseries from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';
import * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import * as table from './node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import * as bargauge from './node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';

interface PrometheusQuery extends common.DataQuery {
  expr: string;
  legendFormat?: string;
  instant?: boolean;
  range?: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
  interval?: string;
  exemplar?: boolean;
  editorMode?: 'code' | 'builder';
}
type Fields<C> = Omit<raw.FieldConfigSource, 'defaults'> & {
  defaults: Omit<raw.FieldConfig, 'custom' | 'links'> & { custom?: Partial<C>; links?: Array<{ title: string; url: string; targetBlank?: boolean }> };
};
type Visual<T extends string, O, C> = Omit<raw.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: T; options: O; fieldConfig: Fields<C>; targets: Array<PrometheusQuery>;
};
type AnyPanel =
  | Visual<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Visual<'stat', stat.Options, Record<string, never>>
  | Visual<'table', table.Options, table.FieldConfig>
  | Visual<'bargauge', bargauge.Options, Record<string, never>>;
type Annotation = Omit<raw.AnnotationQuery, never> & { expr?: string; step?: string; titleFormat?: string; textFormat?: string; tagKeys?: string; useValueForTime?: boolean };
export type ShippedDashboard = Omit<raw.Dashboard, 'panels' | 'annotations'> & {
  panels: Array<AnyPanel | (Omit<raw.RowPanel, 'panels'> & { panels: Array<AnyPanel> })>;
  annotations: { list: Array<Annotation> };
};
