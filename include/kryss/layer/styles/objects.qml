<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis styleCategories="Symbology|Labeling|MapTips|Temporal" labelsEnabled="1" version="3.22.16">
  <temporal fixedDuration="0" enabled="1" startExpression="" limitMode="0" accumulate="0" mode="2" startField="first_seen_at" endField="ended_at" endExpression="" durationField="" durationUnit="min">
    </temporal>
  <renderer-v2 type="categorizedSymbol" forceraster="0" referencescale="-1" enableorderby="1" symbollevels="0" attr="status">
    <categories>
      <category symbol="0" render="true" label="standing" value="standing" />
      <category symbol="1" render="true" label="unconfirmed: few photos, or a place known to over 10 m" value="unconfirmed" />
      <category symbol="2" render="true" label="ended" value="ended" />
    </categories>
    <symbols>
      <symbol clip_to_extent="1" type="marker" name="0" alpha="1" force_rhr="0">
        <layer pass="0" class="EllipseMarker" enabled="1" locked="0">
          <Option type="Map">
            <Option type="QString" name="angle" value="0" />
            <Option type="QString" name="cap_style" value="square" />
            <Option type="QString" name="color" value="0,114,178,28" />
            <Option type="QString" name="horizontal_anchor_point" value="1" />
            <Option type="QString" name="joinstyle" value="miter" />
            <Option type="QString" name="offset" value="0,0" />
            <Option type="QString" name="offset_unit" value="MM" />
            <Option type="QString" name="outline_color" value="0,114,178,150" />
            <Option type="QString" name="outline_style" value="solid" />
            <Option type="QString" name="outline_width" value="0.2" />
            <Option type="QString" name="outline_width_unit" value="MM" />
            <Option type="QString" name="size" value="2" />
            <Option type="QString" name="size_unit" value="MM" />
            <Option type="QString" name="symbol_height" value="2" />
            <Option type="QString" name="symbol_height_unit" value="RenderMetersInMapUnits" />
            <Option type="QString" name="symbol_name" value="circle" />
            <Option type="QString" name="symbol_width" value="2" />
            <Option type="QString" name="symbol_width_unit" value="RenderMetersInMapUnits" />
            <Option type="QString" name="vertical_anchor_point" value="1" />
          </Option>
          <data_defined_properties>
            <Option type="Map">
              <Option type="QString" name="name" value="" />
              <Option type="Map" name="properties">
                <Option type="Map" name="angle">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="coalesce(&quot;error_azimuth_deg&quot;, 0)" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="enabled">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="@map_scale &lt; 2500" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="height">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="2 * coalesce(&quot;error_major_m&quot;, &quot;error_radius_m&quot;)" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="width">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="2 * coalesce(&quot;error_minor_m&quot;, &quot;error_radius_m&quot;)" />
                  <Option type="int" name="type" value="3" />
                </Option>
              </Option>
              <Option type="QString" name="type" value="collection" />
            </Option>
          </data_defined_properties>
        </layer>
        <layer pass="0" class="SimpleMarker" enabled="1" locked="0">
          <Option type="Map">
            <Option type="QString" name="angle" value="0" />
            <Option type="QString" name="cap_style" value="square" />
            <Option type="QString" name="color" value="0,114,178,255" />
            <Option type="QString" name="horizontal_anchor_point" value="1" />
            <Option type="QString" name="joinstyle" value="bevel" />
            <Option type="QString" name="name" value="circle" />
            <Option type="QString" name="offset" value="0,0" />
            <Option type="QString" name="offset_unit" value="MM" />
            <Option type="QString" name="outline_color" value="255,255,255,255" />
            <Option type="QString" name="outline_style" value="solid" />
            <Option type="QString" name="outline_width" value="0.4" />
            <Option type="QString" name="outline_width_unit" value="MM" />
            <Option type="QString" name="scale_method" value="diameter" />
            <Option type="QString" name="size" value="2.8" />
            <Option type="QString" name="size_unit" value="MM" />
            <Option type="QString" name="vertical_anchor_point" value="1" />
          </Option>
          <data_defined_properties>
            <Option type="Map">
              <Option type="QString" name="name" value="" />
              <Option type="Map" name="properties">
                <Option type="Map" name="name">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="if(&quot;object_type&quot; = 'traffic light', 'square', 'circle')" />
                  <Option type="int" name="type" value="3" />
                </Option>
              </Option>
              <Option type="QString" name="type" value="collection" />
            </Option>
          </data_defined_properties>
        </layer>
      </symbol>
      <symbol clip_to_extent="1" type="marker" name="1" alpha="1" force_rhr="0">
        <layer pass="0" class="EllipseMarker" enabled="1" locked="0">
          <Option type="Map">
            <Option type="QString" name="angle" value="0" />
            <Option type="QString" name="cap_style" value="square" />
            <Option type="QString" name="color" value="230,159,0,28" />
            <Option type="QString" name="horizontal_anchor_point" value="1" />
            <Option type="QString" name="joinstyle" value="miter" />
            <Option type="QString" name="offset" value="0,0" />
            <Option type="QString" name="offset_unit" value="MM" />
            <Option type="QString" name="outline_color" value="230,159,0,150" />
            <Option type="QString" name="outline_style" value="solid" />
            <Option type="QString" name="outline_width" value="0.2" />
            <Option type="QString" name="outline_width_unit" value="MM" />
            <Option type="QString" name="size" value="2" />
            <Option type="QString" name="size_unit" value="MM" />
            <Option type="QString" name="symbol_height" value="2" />
            <Option type="QString" name="symbol_height_unit" value="RenderMetersInMapUnits" />
            <Option type="QString" name="symbol_name" value="circle" />
            <Option type="QString" name="symbol_width" value="2" />
            <Option type="QString" name="symbol_width_unit" value="RenderMetersInMapUnits" />
            <Option type="QString" name="vertical_anchor_point" value="1" />
          </Option>
          <data_defined_properties>
            <Option type="Map">
              <Option type="QString" name="name" value="" />
              <Option type="Map" name="properties">
                <Option type="Map" name="angle">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="coalesce(&quot;error_azimuth_deg&quot;, 0)" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="enabled">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="@map_scale &lt; 2500" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="height">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="2 * coalesce(&quot;error_major_m&quot;, &quot;error_radius_m&quot;)" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="width">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="2 * coalesce(&quot;error_minor_m&quot;, &quot;error_radius_m&quot;)" />
                  <Option type="int" name="type" value="3" />
                </Option>
              </Option>
              <Option type="QString" name="type" value="collection" />
            </Option>
          </data_defined_properties>
        </layer>
        <layer pass="0" class="SimpleMarker" enabled="1" locked="0">
          <Option type="Map">
            <Option type="QString" name="angle" value="0" />
            <Option type="QString" name="cap_style" value="square" />
            <Option type="QString" name="color" value="230,159,0,255" />
            <Option type="QString" name="horizontal_anchor_point" value="1" />
            <Option type="QString" name="joinstyle" value="bevel" />
            <Option type="QString" name="name" value="circle" />
            <Option type="QString" name="offset" value="0,0" />
            <Option type="QString" name="offset_unit" value="MM" />
            <Option type="QString" name="outline_color" value="34,34,34,255" />
            <Option type="QString" name="outline_style" value="solid" />
            <Option type="QString" name="outline_width" value="0.3" />
            <Option type="QString" name="outline_width_unit" value="MM" />
            <Option type="QString" name="scale_method" value="diameter" />
            <Option type="QString" name="size" value="2.8" />
            <Option type="QString" name="size_unit" value="MM" />
            <Option type="QString" name="vertical_anchor_point" value="1" />
          </Option>
          <data_defined_properties>
            <Option type="Map">
              <Option type="QString" name="name" value="" />
              <Option type="Map" name="properties">
                <Option type="Map" name="name">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="if(&quot;object_type&quot; = 'traffic light', 'square', 'circle')" />
                  <Option type="int" name="type" value="3" />
                </Option>
              </Option>
              <Option type="QString" name="type" value="collection" />
            </Option>
          </data_defined_properties>
        </layer>
      </symbol>
      <symbol clip_to_extent="1" type="marker" name="2" alpha="1" force_rhr="0">
        <layer pass="0" class="EllipseMarker" enabled="1" locked="0">
          <Option type="Map">
            <Option type="QString" name="angle" value="0" />
            <Option type="QString" name="cap_style" value="square" />
            <Option type="QString" name="color" value="85,85,85,28" />
            <Option type="QString" name="horizontal_anchor_point" value="1" />
            <Option type="QString" name="joinstyle" value="miter" />
            <Option type="QString" name="offset" value="0,0" />
            <Option type="QString" name="offset_unit" value="MM" />
            <Option type="QString" name="outline_color" value="85,85,85,150" />
            <Option type="QString" name="outline_style" value="solid" />
            <Option type="QString" name="outline_width" value="0.2" />
            <Option type="QString" name="outline_width_unit" value="MM" />
            <Option type="QString" name="size" value="2" />
            <Option type="QString" name="size_unit" value="MM" />
            <Option type="QString" name="symbol_height" value="2" />
            <Option type="QString" name="symbol_height_unit" value="RenderMetersInMapUnits" />
            <Option type="QString" name="symbol_name" value="circle" />
            <Option type="QString" name="symbol_width" value="2" />
            <Option type="QString" name="symbol_width_unit" value="RenderMetersInMapUnits" />
            <Option type="QString" name="vertical_anchor_point" value="1" />
          </Option>
          <data_defined_properties>
            <Option type="Map">
              <Option type="QString" name="name" value="" />
              <Option type="Map" name="properties">
                <Option type="Map" name="angle">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="coalesce(&quot;error_azimuth_deg&quot;, 0)" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="enabled">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="@map_scale &lt; 2500" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="height">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="2 * coalesce(&quot;error_major_m&quot;, &quot;error_radius_m&quot;)" />
                  <Option type="int" name="type" value="3" />
                </Option>
                <Option type="Map" name="width">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="2 * coalesce(&quot;error_minor_m&quot;, &quot;error_radius_m&quot;)" />
                  <Option type="int" name="type" value="3" />
                </Option>
              </Option>
              <Option type="QString" name="type" value="collection" />
            </Option>
          </data_defined_properties>
        </layer>
        <layer pass="0" class="SimpleMarker" enabled="1" locked="0">
          <Option type="Map">
            <Option type="QString" name="angle" value="0" />
            <Option type="QString" name="cap_style" value="square" />
            <Option type="QString" name="color" value="0,0,0,0" />
            <Option type="QString" name="horizontal_anchor_point" value="1" />
            <Option type="QString" name="joinstyle" value="bevel" />
            <Option type="QString" name="name" value="circle" />
            <Option type="QString" name="offset" value="0,0" />
            <Option type="QString" name="offset_unit" value="MM" />
            <Option type="QString" name="outline_color" value="85,85,85,255" />
            <Option type="QString" name="outline_style" value="solid" />
            <Option type="QString" name="outline_width" value="0.6" />
            <Option type="QString" name="outline_width_unit" value="MM" />
            <Option type="QString" name="scale_method" value="diameter" />
            <Option type="QString" name="size" value="2.8" />
            <Option type="QString" name="size_unit" value="MM" />
            <Option type="QString" name="vertical_anchor_point" value="1" />
          </Option>
          <data_defined_properties>
            <Option type="Map">
              <Option type="QString" name="name" value="" />
              <Option type="Map" name="properties">
                <Option type="Map" name="name">
                  <Option type="bool" name="active" value="true" />
                  <Option type="QString" name="expression" value="if(&quot;object_type&quot; = 'traffic light', 'square', 'circle')" />
                  <Option type="int" name="type" value="3" />
                </Option>
              </Option>
              <Option type="QString" name="type" value="collection" />
            </Option>
          </data_defined_properties>
        </layer>
      </symbol>
    </symbols>
    <orderby>
      <orderByClause nullsFirst="0" asc="1">"status" &lt;&gt; 'ended'</orderByClause>
    </orderby>
  </renderer-v2>
  <labeling type="simple">
    <settings calloutType="simple">
      <text-style textOpacity="1" capitalization="0" legendString="Aa" textOrientation="horizontal" fontSizeUnit="Point" blendMode="0" fontItalic="0" allowHtml="0" previewBkgrdColor="255,255,255,255" fontUnderline="0" fontSize="8" fontKerning="1" textColor="34,34,34,255" isExpression="1" fontWeight="50" multilineHeight="1" namedStyle="" fontStrikeout="0" fontLetterSpacing="0" useSubstitutions="0" fieldName="regexp_replace(&quot;class&quot;, '^[a-z]+--|--g[0-9]+$', '')" fontWordSpacing="0">
        <families />
        <text-buffer bufferSizeUnits="MM" bufferOpacity="1" bufferNoFill="1" bufferDraw="1" bufferSize="0.80000000000000004" bufferColor="255,255,255,255" bufferBlendMode="0" bufferJoinStyle="128" />
      </text-style>
      <text-format useMaxLineLengthForAutoWrap="1" wrapChar="" reverseDirectionSymbol="0" decimals="3" autoWrapLength="0" multilineAlign="3" formatNumbers="0" addDirectionSymbol="0" plussign="0" placeDirectionSymbol="0" leftDirectionSymbol="&lt;" rightDirectionSymbol="&gt;" />
      <placement placementFlags="10" polygonPlacementFlags="2" maxCurvedCharAngleOut="-25" offsetUnits="MM" lineAnchorType="0" centroidInside="0" geometryGeneratorEnabled="0" rotationAngle="0" placement="6" lineAnchorClipping="0" repeatDistanceUnits="MM" overrunDistance="0" quadOffset="4" preserveRotation="1" distUnits="MM" maxCurvedCharAngleIn="25" fitInPolygonOnly="0" repeatDistance="0" centroidWhole="0" lineAnchorPercent="0.5" overrunDistanceUnit="MM" geometryGeneratorType="PointGeometry" xOffset="0" geometryGenerator="" layerType="UnknownGeometry" dist="2.2000000000000002" priority="5" yOffset="0" predefinedPositionOrder="TR,TL,BR,BL,R,L,TSR,BSR" rotationUnit="AngleDegrees" offsetType="0" />
      <rendering limitNumLabels="0" minFeatureSize="0" upsidedownLabels="0" obstacleFactor="1" fontLimitPixelSize="0" scaleMax="2500" fontMinPixelSize="0" scaleVisibility="1" obstacle="1" drawLabels="1" maxNumLabels="2000" obstacleType="1" labelPerPart="0" zIndex="0" unplacedVisibility="0" scaleMin="0" mergeLines="0" fontMaxPixelSize="10000" displayAll="0" />
    </settings>
  </labeling>
  <mapTip>&lt;b&gt;[% replace(replace("class", '&amp;', '&amp;amp;'), '&lt;', '&amp;lt;') %]&lt;/b&gt;&lt;br&gt;[% "status" %], standing with [% round(100 * "standing_probability", 1) %] %&lt;br&gt;within [% "error_radius_m" %] m (95 %)&lt;br&gt;seen [% left("first_seen_at", 10) %] to [% left("last_seen_at", 10) %]</mapTip>
</qgis>
